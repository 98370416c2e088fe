"""Our text to image against diffusers' own pipeline: same weights, seeds and scheduler."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from studio.pipelines import components
from studio.pipelines.placement import Runtime
from studio.pipelines.text_to_image import text_to_image
from tests.drawn import before_rounding
from tests.tiny import Prediction, tiny_model, tiny_requests

# Some of diffusers' schedulers use numpy in a way that numpy deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

SEEDS = (11, 12)
PROMPT, NEGATIVE = "a red apple", "blue"

# sampler, schedule: the class of diffusers and its options, written down here a second time.
SAMPLERS: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("Euler", "Automatic"): ("EulerDiscreteScheduler", {}),
    ("Euler a", "Automatic"): ("EulerAncestralDiscreteScheduler", {}),
    ("Heun", "Automatic"): ("HeunDiscreteScheduler", {}),
    ("DPM++ 2M", "Automatic"): ("DPMSolverMultistepScheduler", {}),
    ("DPM++ 2M SDE", "Automatic"): (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++"},
    ),
    ("LMS", "Automatic"): ("LMSDiscreteScheduler", {}),
    ("DDIM", "Automatic"): ("DDIMScheduler", {}),
    ("DDPM", "Automatic"): ("DDPMScheduler", {}),
    ("PLMS", "Automatic"): ("PNDMScheduler", {"skip_prk_steps": True}),
    ("UniPC", "Automatic"): ("UniPCMultistepScheduler", {}),
    ("DEIS", "Automatic"): ("DEISMultistepScheduler", {}),
}
# Those of diffusers that know zero terminal SNR.
ZERO_SNR = [
    ("Euler", "Automatic"),
    ("Euler a", "Automatic"),
    ("DPM++ 2M", "Automatic"),
    ("DDIM", "Automatic"),
    ("DDPM", "Automatic"),
    ("UniPC", "Automatic"),
]


@cache
def reference_pipeline(folder: Path) -> Any:
    kind: Any = diffusers.StableDiffusionPipeline
    pipeline = kind.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    encoder = pipeline.text_encoder
    if not hasattr(encoder, "text_model"):
        # Newer transformers have one class where diffusers' clip skip expects two.
        object.__setattr__(encoder, "text_model", encoder)
    return pipeline


def theirs(folder: Path, kind: str, options: dict[str, Any], **settings: Any) -> Tensor:
    """Pictures [B, 3, H, W] in [0, 1] by diffusers."""
    pipeline = reference_pipeline(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of diffusers' schedulers warn of numpy
        pipeline.scheduler = getattr(diffusers, kind).from_config(
            diffusers.DDIMScheduler.load_config(folder / "scheduler"), **options
        )
        images = pipeline(
            [PROMPT] * len(SEEDS),
            negative_prompt=[NEGATIVE] * len(SEEDS),
            generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
            output_type="pt",
            **settings,
        ).images
    return torch.as_tensor(images)


def ours(model: components.Components, patch: pytest.MonkeyPatch, **fields: Any) -> Tensor:
    """The same by us, taken just before it is rounded to 8 bits."""
    requests = tiny_requests(
        len(SEEDS), seed=SEEDS[0], prompt=PROMPT, negative_prompt=NEGATIVE, **fields
    )
    return before_rounding(text_to_image(model, requests), patch)


def compare(
    model: components.Components,
    patch: pytest.MonkeyPatch,
    key: tuple[str, str],
    steps: int = 3,
    size: int = 64,
    **fields: Any,
) -> None:
    kind, options = SAMPLERS[key]
    drawn = ours(
        model,
        patch,
        sampler=key[0],
        schedule=key[1],
        steps=steps,
        width=size,
        height=size,
        **fields,
    )
    expected = theirs(
        model.folder,
        kind,
        options,
        num_inference_steps=steps,
        guidance_scale=fields.get("guidance_scale", 4.0),
        guidance_rescale=fields.get("guidance_rescale", 0.0),
        clip_skip=fields.get("clip_skip", 1) - 1 or None,
        width=size,
        height=size,
    )
    assert expected.std() > 0.05, "a grey picture proves nothing"
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("key", SAMPLERS, ids=" ".join)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_every_sampler_draws_the_same_picture(
    prediction: Prediction, key: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(tiny_model(prediction), monkeypatch, key)


@pytest.mark.parametrize("key", ZERO_SNR, ids=" ".join)
def test_zero_terminal_snr_draws_the_same_picture(
    key: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(tiny_model("v_prediction", zero_snr=True), monkeypatch, key)


@pytest.mark.parametrize(
    "fields",
    [
        {"guidance_scale": 1.0},
        {"guidance_scale": 12.5, "guidance_rescale": 0.7},
        # Without guidance: diffusers skips no layer for the negative prompt, we do (as A1111).
        {"clip_skip": 2, "guidance_scale": 1.0},
    ],
    ids=str,
)
def test_guidance_and_clip_skip_mean_the_same(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(tiny_model(), monkeypatch, ("DPM++ 2M", "Automatic"), **fields)


@pytest.mark.parametrize("key", ZERO_SNR, ids=" ".join)
def test_mini_draws_the_same_picture(key: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    model = components.load("mini", Runtime(device="cpu"))
    compare(model, monkeypatch, key, steps=8, size=model.card.defaults.width, guidance_rescale=0.5)
