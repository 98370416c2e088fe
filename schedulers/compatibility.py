"""Which samplers can work with which models. Loads no torch, so that refusals come at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studio.errors import RequestError
from studio.schedulers import catalogue

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def zero_terminal_snr(config: Mapping[str, Any]) -> bool:
    """Whether the model was trained down to pure noise (Lin et al. 2023)."""
    return bool(config.get("rescale_betas_zero_snr", False))


def check(sampler: str, steps: int, config: Mapping[str, Any]) -> None:
    """Refuses what has no right answer.

    Args:
        sampler: canonical name.
        steps: number of steps.
        config: the model's ``scheduler/scheduler_config.json``.

    Raises:
        RequestError: names what would be right.
    """
    row = catalogue.sampler(sampler)
    trained = int(config.get("num_train_timesteps", 1000))
    if not 1 <= steps <= trained:
        raise RequestError("steps", steps, "out of range", valid=f"1 to {trained} for this model")
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise RequestError(
            "model", prediction, "unknown prediction type", valid=", ".join(PREDICTIONS)
        )
    if prediction == "epsilon" and zero_terminal_snr(config):
        raise RequestError(
            "sampler",
            row.name,
            "the model predicts epsilon and has zero terminal SNR: from pure noise, epsilon says "
            "nothing about the picture",
            valid="a model that predicts v_prediction or sample, with any sampler",
        )
    if prediction not in row.predictions and not row.explicit:
        able = [r.name for r in catalogue.samplers() if prediction in r.predictions or r.explicit]
        raise RequestError(
            "sampler",
            row.name,
            f"it cannot work with a model that predicts {prediction}",
            valid=", ".join(able),
        )
