"""Data distributions whose best denoiser, and whole probability flow, are known exactly.

Everything is in variance-exploding form, x = x0 + sigma noise, element by element, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats  # type: ignore[import-untyped]

from studio.schedulers.noise import noise_table
from studio.schedulers.spacings import Array
from studio.schedulers.stepping import Scheduler, step

SD = {
    "_class_name": "PNDMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
}
ZERO_SNR = {
    **SD,
    "_class_name": "DDIMScheduler",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
}


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians in one dimension; one component is a plain Gaussian."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def denoised(self, x: Array, sigma: float) -> Array:
        """E[x0 | x], the best possible denoiser."""
        mean, spread = np.array(self.means), np.array(self.deviations) ** 2 + sigma**2
        far = x[..., None] - mean
        logit = np.log(self.weights) - far**2 / spread / 2 - np.log(spread) / 2
        share = np.exp(logit - logit.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        best = mean + np.array(self.deviations) ** 2 / spread * far
        return np.asarray((share * best).sum(-1))

    def flow(self, x: Array, sigma: float, sigma_next: float) -> Array:
        """The exact probability-flow ODE: in one dimension it keeps each point's quantile."""
        if len(self.weights) == 1:
            start, end = (np.hypot(self.deviations[0], s) for s in (sigma, sigma_next))
            return np.asarray(self.means[0] + (x - self.means[0]) * end / start)
        quantile = self._cdf(x, sigma)
        low, high = np.full_like(x, -20 - 9 * sigma_next), np.full_like(x, 20 + 9 * sigma_next)
        for _ in range(60):
            half = (low + high) / 2
            below = self._cdf(half, sigma_next) < quantile
            low, high = np.where(below, half, low), np.where(below, high, half)
        return np.asarray((low + high) / 2)

    def _cdf(self, x: Array, sigma: float) -> Array:
        spread = np.hypot(self.deviations, sigma)
        return np.asarray((self.weights * stats.norm.cdf(x[..., None], self.means, spread)).sum(-1))

    @property
    def mean(self) -> float:
        return float(np.dot(self.weights, self.means))

    @property
    def variance(self) -> float:
        second = np.array(self.means) ** 2 + np.array(self.deviations) ** 2
        return float(np.dot(self.weights, second)) - self.mean**2


GAUSSIAN = Mixture((1.0,), (0.3,), (0.6,))
TWO_PEAKS = Mixture((0.4, 0.6), (-1.0, 0.8), (0.4, 0.5))

Predict = Callable[[Array, float], Array]


@dataclass(frozen=True)
class State:
    """Where a walk stood: noise level and latents in variance-exploding form."""

    sigma: float
    x: Array


def output(kind: str, x: Array, denoised: Array, sigma: float) -> Array:
    """What a model of this prediction type says for a given view of the clean picture."""
    noise = (x - denoised) / sigma
    if kind == "sample":
        return denoised
    if kind == "v_prediction":
        return np.asarray((noise - sigma * denoised) / np.hypot(1, sigma))
    return noise


def walk(
    scheduler: Scheduler,
    config: dict[str, Any],
    predict: Predict,
    unit_noise: Array,
    generators: Sequence[torch.Generator] = (),
) -> tuple[list[State], Array]:
    """Draw with the exact model: the states before each model call, and the final latents.

    Args:
        predict: (x, sigma) -> the model's view of the clean picture.
        unit_noise: [B, C, H, W].
    """
    table = noise_table(config)
    latents = torch.from_numpy(unit_noise).to(torch.float32) * scheduler.init_noise_sigma
    states = []
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(latents, t).to(torch.float64).numpy()
        sigma = float(table.sigma(np.array(float(t))))
        x = seen * np.hypot(1, sigma)
        states.append(State(sigma, x))
        said = output(scheduler.config.prediction_type, x, predict(x, sigma), sigma)
        latents = step(scheduler, torch.from_numpy(said).float(), t, latents, generators)
    return states, latents.to(torch.float64).numpy()
