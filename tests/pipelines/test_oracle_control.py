"""ControlNet and IP-Adapter against diffusers' own pipelines: same weights, seeds, pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from studio.pipelines.components import Components, load
from studio.pipelines.drawing import draw
from studio.pipelines.inputs import Sources
from studio.pipelines.placement import Runtime
from tests.drawn import before_rounding
from tests.tiny import tiny_components, tiny_requests
from tests.tiny_adapters import adapter_file, control_folder
from tests.tiny_families import tiny_folder

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

PROMPT, NEGATIVE = "a red apple, on a table", "blue"
IMAGE = "sha256:" + "0" * 64
SAMPLERS: dict[str, Any] = {
    "Euler": diffusers.EulerDiscreteScheduler,
    "DPM++ 2M": diffusers.DPMSolverMultistepScheduler,
    "Heun": diffusers.HeunDiscreteScheduler,
}


def folder_of(name: str) -> Path:
    return tiny_folder(name) if name in ("sd1", "sdxl") else tiny_components()


@cache
def model(name: str) -> Components:
    return load(str(folder_of(name)), Runtime(device="cpu"))


def photo(seed: int = 3) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(levels).resize((64, 64), Image.Resampling.BICUBIC)


def lines() -> Image.Image:
    y, x = np.mgrid[:64, :64]
    ring = abs(np.hypot(x - 30, y - 35) - 20) < 1.5
    return Image.fromarray(ring.astype(np.uint8) * 255).convert("RGB")


def disc() -> Image.Image:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 8, 48, 40))
    return mask


def theirs(kind: str, name: str, sampler: str = "Euler", **settings: Any) -> Tensor:
    folder = folder_of(name)
    parts: dict[str, Any] = {}
    if "ControlNet" in kind:
        kind_of_net: Any = diffusers.ControlNetModel
        parts["controlnet"] = kind_of_net.from_pretrained(control_folder(folder))
    pipeline: Any = getattr(diffusers, kind).from_pretrained(folder, **parts)
    pipeline.set_progress_bar_config(disable=True)
    config = diffusers.DDIMScheduler.load_config(folder / "scheduler")
    pipeline.scheduler = SAMPLERS[sampler].from_config(config)
    if (adapter := settings.pop("adapter", None)) is not None:
        pipeline.load_ip_adapter(
            str(adapter.parent), subfolder="", weight_name=adapter.name, local_files_only=True
        )
        pipeline.set_ip_adapter_scale(settings.pop("scale", 1.0))
    images = pipeline(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        **{"guidance_scale": 4.0, "num_inference_steps": 4, **settings},
        output_type="pt",
        generator=torch.Generator().manual_seed(5),
    ).images
    return torch.as_tensor(images)


def ours(
    name: str, patch: pytest.MonkeyPatch, sources: Sources | None = None, **fields: Any
) -> Tensor:
    """A picture [1, 3, H, W] in [0, 1], taken just before it is rounded to 8 bits."""
    usual = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "seed": 5, "steps": 4}
    requests = tiny_requests(**{**usual, "width": 64, "height": 64, **fields})
    return before_rounding(draw(model(name), requests, sources or Sources()), patch)


def held(name: str, **fields: Any) -> dict[str, Any]:
    return {"control": str(control_folder(folder_of(name))), "control_image": IMAGE, **fields}


def shown(name: str, kind: str = "plain", **fields: Any) -> dict[str, Any]:
    file = str(adapter_file(folder_of(name), kind))
    return {"ip_adapter": file, "ip_adapter_image": IMAGE, **fields}


def same(drawn: Tensor, expected: Tensor) -> None:
    assert expected.std() > 0.05, "a grey picture proves nothing"
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "sampler", "fields", "settings"),
    [
        ("sd1", "Euler", {}, {}),
        ("sdxl", "DPM++ 2M", {}, {}),
        (
            "sd1",
            "Heun",
            {"control_strength": 0.6, "control_start": 0.2, "control_end": 0.7},
            {
                "controlnet_conditioning_scale": 0.6,
                "control_guidance_start": 0.2,
                "control_guidance_end": 0.7,
            },
        ),
        ("sd1", "Euler", {"guidance_scale": 1.0}, {"guidance_scale": 1.0}),
    ],
    ids=["sd1", "sdxl", "interval", "no guidance"],
)
def test_control_of_text_to_image(
    name: str,
    sampler: str,
    fields: dict[str, Any],
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = f"StableDiffusion{'XL' * (name == 'sdxl')}ControlNetPipeline"
    sources = Sources(control_image=lines())
    drawn = ours(name, monkeypatch, sources, sampler=sampler, **held(name, **fields))
    same(drawn, theirs(kind, name, sampler, image=lines(), **settings))
    free = ours(name, monkeypatch, sampler=sampler, guidance_scale=fields.get("guidance_scale", 4))
    assert not torch.allclose(drawn, free, atol=1e-2), "the ControlNet did nothing"


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_control_of_image_to_image(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = ours(
        name,
        monkeypatch,
        Sources(photo(), control_image=lines()),
        init_image=IMAGE,
        strength=0.75,
        **held(name, control_end=0.5),
    )
    expected = theirs(
        f"StableDiffusion{'XL' * (name == 'sdxl')}ControlNetImg2ImgPipeline",
        name,
        image=photo(),
        control_image=lines(),
        strength=0.75,
        control_guidance_end=0.5,
        controlnet_conditioning_scale=1.0,
    )
    same(drawn, expected)


def test_control_of_inpainting(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = ours(
        "sd1",
        monkeypatch,
        Sources(photo(), disc(), control_image=lines()),
        init_image=IMAGE,
        mask=IMAGE,
        mask_feather=0,
        strength=0.75,
        **held("sd1"),
    )
    expected = theirs(
        "StableDiffusionControlNetInpaintPipeline",
        "sd1",
        image=photo(),
        mask_image=disc(),
        control_image=lines(),
        strength=0.75,
        controlnet_conditioning_scale=1.0,
    )
    same(drawn, expected)


@pytest.mark.parametrize("kind", ["plain", "plus", "full"])
def test_a_picture_prompts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = shown("sd1", kind, ip_adapter_scale=0.7)
    drawn = ours("sd1", monkeypatch, Sources(ip_adapter_image=photo()), **fields)
    expected = theirs(
        "StableDiffusionPipeline",
        "sd1",
        adapter=adapter_file(folder_of("sd1"), kind),
        scale=0.7,
        ip_adapter_image=photo(),
        width=64,
        height=64,
    )
    same(drawn, expected)


def test_a_picture_prompts_sdxl_image_to_image(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = Sources(photo(), ip_adapter_image=photo(4))
    fields = shown("sdxl", init_image=IMAGE, strength=0.5)
    drawn = ours("sdxl", monkeypatch, sources, **fields)
    expected = theirs(
        "StableDiffusionXLImg2ImgPipeline",
        "sdxl",
        adapter=adapter_file(folder_of("sdxl")),
        ip_adapter_image=photo(4),
        image=photo(),
        strength=0.5,
    )
    same(drawn, expected)


def test_a_picture_prompts_and_lines_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = Sources(control_image=lines(), ip_adapter_image=photo())
    drawn = ours("sd1", monkeypatch, sources, **held("sd1"), **shown("sd1"))
    expected = theirs(
        "StableDiffusionControlNetPipeline",
        "sd1",
        adapter=adapter_file(folder_of("sd1")),
        ip_adapter_image=photo(),
        image=lines(),
    )
    same(drawn, expected)
