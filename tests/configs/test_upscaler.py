"""The upscaler in the box: whole, small, read by diffusers, and the same in tiles."""

from __future__ import annotations

import re
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors import safe_open

from studio import Studio
from studio.pipelines import tiled_unet
from studio.training.data_recipe import load_recipe
from studio.training.export import checksums
from studio.verify import verify

UPSCALER = Path(str(files("studio.configs"))) / "upscaler"


def drawing(side: int = 64) -> Image.Image:
    picture = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((side // 8, side // 8, side * 3 // 4, side * 3 // 4), fill=(220, 40, 45))
    pen.polygon([(side // 2, side // 3), (side - 5, side // 2), (side // 2, side - 5)], "navy")
    return picture


def test_the_files_are_those_of_the_checksums_and_name_no_machine() -> None:
    assert (UPSCALER / "SHA256SUMS").read_text(encoding="utf-8") == checksums(UPSCALER)
    for config in UPSCALER.rglob("*.json"):
        assert "_name_or_path" not in config.read_text(encoding="utf-8")


def test_the_weights_are_small_and_in_half_precision() -> None:
    weights = list(UPSCALER.rglob("*.safetensors"))
    assert {path.parent.name for path in weights} == {"vae", "unet"}
    assert sum(path.stat().st_size for path in weights) < 6_000_000
    for path in weights:
        with safe_open(path, "pt") as tensors:
            dtypes = {tensors.get_tensor(name).dtype for name in tensors.keys()}  # noqa: SIM118
        assert dtypes == {torch.float16}, path


def test_the_card_credits_every_source() -> None:
    card = (UPSCALER / "README.md").read_text(encoding="utf-8")
    recipe = load_recipe()
    icons = {icons.package for icons in recipe.silhouettes}  # which only the image tower sees
    for package in recipe.packages:
        for licence in re.findall(r"[\w.-]+", package.licence.replace(" AND ", " ")):
            assert package.name in icons or licence in card
    for who in ("Microsoft", "Google", "Twitter", "EmojiTwo", "Mozilla", "Streamline"):
        assert who in card


def test_diffusers_draws_the_same_picture() -> None:
    """Its pipeline decodes with AutoencoderKL's parts only, so latents are decoded by hand."""
    image = drawing(32)
    kind: Any = diffusers.StableDiffusionUpscalePipeline
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = kind.from_pretrained(
            UPSCALER,
            text_encoder=None,
            tokenizer=None,
            torch_dtype=torch.float32,
            local_files_only=True,
        )
    pipeline.set_progress_bar_config(disable=True)
    nothing = torch.zeros(1, 1, 1)
    latents = pipeline(
        image=image,
        prompt_embeds=nothing,
        negative_prompt_embeds=nothing,
        guidance_scale=1.0,
        num_inference_steps=1,
        noise_level=0,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images
    with torch.inference_mode():
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample[0]
    expected = ((decoded / 2 + 0.5).clamp(0, 1) * 255).permute(1, 2, 0).numpy()
    ours = next(Studio("upscaler").generate("", init_image=image, seed=7)).image
    assert ours.size == (128, 128)
    assert np.abs(np.asarray(ours, np.float64) - expected).max() <= 0.5 + 255e-4


def test_an_enlarged_drawing_is_closer_to_the_large_one_than_its_resampling() -> None:
    small = drawing(512).resize((128, 128), Image.Resampling.BOX)
    ours = next(Studio("upscaler").generate("", init_image=small, seed=1)).image
    large = np.asarray(drawing(512), np.float64)
    plain = small.resize((512, 512), Image.Resampling.LANCZOS)
    errors = [np.mean((np.asarray(one, np.float64) - large) ** 2) for one in (ours, plain)]
    assert errors[0] < errors[1]


def test_tiles_and_the_whole_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    studio, image = Studio("upscaler"), drawing(128)
    whole = next(studio.generate("", init_image=image, seed=1)).image
    monkeypatch.setattr(tiled_unet, "_EDGE", 96)
    monkeypatch.setattr(tiled_unet, "_OVERLAP", 48)
    tiled = next(studio.generate("", init_image=image, seed=1)).image
    difference = np.abs(np.asarray(whole, int) - np.asarray(tiled, int))[64:-64, 64:-64]
    assert difference.max() <= 3
    assert (difference > 1).mean() < 0.01


def test_it_draws_the_same_picture_again(tmp_path: Path) -> None:
    image = drawing(32)
    image.save(tmp_path / "small.png")
    picture = next(Studio("upscaler").generate("", init_image=image, seed=3, upscale=2))
    assert picture.image.size == (64, 64)
    path = picture.save(tmp_path)
    assert verify(path, init_image=tmp_path / "small.png").exact
