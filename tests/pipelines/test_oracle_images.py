"""Our image to image and inpainting against diffusers' pipelines: same weights, seeds, pictures."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from studio.pipelines.image_to_image import image_to_image
from studio.pipelines.inpainting import inpainting
from studio.pipelines.inputs import Sources
from tests.drawn import before_rounding
from tests.pipelines.test_oracle import NEGATIVE, PROMPT, SAMPLERS, SEEDS
from tests.tiny import tiny_model, tiny_requests

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

KEYS = [
    (name, "Automatic")
    for name in ("Euler", "Euler a", "Heun", "DPM++ 2M", "DPM++ 2M SDE", "DDIM", "UniPC", "DEIS")
]


def photo(size: int = 64) -> Image.Image:
    """Colourful noise on a slope: nothing in it is flat or symmetric."""
    rng = np.random.default_rng(3)
    slope = np.linspace(0, 200, size)[None, :, None] * np.array([1.0, 0.6, 0.2])
    return Image.fromarray((slope + rng.integers(0, 55, (size, size, 3))).astype(np.uint8))


def disc(size: int = 64) -> Image.Image:
    """A mask that follows no grid of latents."""
    y, x = np.mgrid[:size, :size]
    return Image.fromarray((((x - 37) ** 2 + (y - 29) ** 2 < 300) * 255).astype(np.uint8))


@cache
def pipeline_of(kind: str, folder: Path) -> Any:
    pipeline = getattr(diffusers, kind).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(kind: str, folder: Path, key: tuple[str, str], **settings: Any) -> Tensor:
    """Pictures [B, 3, H, W] in [0, 1] by diffusers, each image encoded by its own generator."""
    pipeline = pipeline_of(kind, folder)
    name, options = SAMPLERS[key]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of diffusers' schedulers warn of numpy
        pipeline.scheduler = getattr(diffusers, name).from_config(
            diffusers.DDIMScheduler.load_config(folder / "scheduler"), **options
        )
        images = pipeline(
            [PROMPT] * len(SEEDS),
            image=[photo()] * len(SEEDS),
            negative_prompt=[NEGATIVE] * len(SEEDS),
            generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
            output_type="pt",
            guidance_scale=4.0,
            **settings,
        ).images
    assert images.std() > 0.05, "a grey picture proves nothing"
    return torch.as_tensor(images)


def requests(key: tuple[str, str], **fields: Any) -> Any:
    asked = {"seed": SEEDS[0], "prompt": PROMPT, "negative_prompt": NEGATIVE, "init_image": "x"}
    return tiny_requests(len(SEEDS), sampler=key[0], schedule=key[1], **{**asked, **fields})


@pytest.mark.parametrize("key", KEYS, ids=" ".join)
def test_image_to_image_draws_the_same_picture(
    key: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("v_prediction")
    asked = requests(key, steps=6, strength=0.6)
    drawn = before_rounding(image_to_image(model, asked, Sources(photo())), monkeypatch)
    kind = "StableDiffusionImg2ImgPipeline"
    expected = theirs(kind, model.folder, key, num_inference_steps=6, strength=0.6)
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("key", "strength"),
    [*((key, 0.6) for key in KEYS[:6]), *((key, 1.0) for key in KEYS[:2])],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
@pytest.mark.parametrize("sees_mask", [False, True], ids=["plain", "inpainting"])
def test_inpainting_draws_the_same_picture(
    *,
    sees_mask: bool,
    key: tuple[str, str],
    strength: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model(inpainting=sees_mask)
    asked = requests(key, steps=4, strength=strength, mask="y")
    drawn = before_rounding(inpainting(model, asked, Sources(photo(), disc())), monkeypatch)
    expected = theirs(
        "StableDiffusionInpaintPipeline",
        model.folder,
        key,
        num_inference_steps=4,
        strength=strength,
        mask_image=[disc()] * len(SEEDS),
        width=64,
        height=64,
    )
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=0)
