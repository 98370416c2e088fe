"""SDXL against diffusers' own pipelines: same weights, seeds and scheduler."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from studio.errors import ModelError, RequestError
from studio.facade import Studio
from studio.pipelines.components import Components, load, refined
from studio.pipelines.drawing import draw
from studio.pipelines.inputs import Sources
from studio.pipelines.placement import Runtime
from studio.pipelines.request import Request
from tests.drawn import before_rounding
from tests.tiny import tiny_requests
from tests.tiny_families import tiny_folder

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

PROMPT, NEGATIVE = "a red apple, on a table", "blue"
SAMPLERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Euler": (diffusers.EulerDiscreteScheduler, {}),
    "DPM++ 2M": (diffusers.DPMSolverMultistepScheduler, {}),
    "Heun": (diffusers.HeunDiscreteScheduler, {}),
}


@cache
def model(name: str) -> Components:
    return load(str(tiny_folder(name)), Runtime(device="cpu"))


@cache
def reference(kind: str, name: str) -> Any:
    pipeline: Any = getattr(diffusers, kind).from_pretrained(tiny_folder(name))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def theirs(kind: str, name: str, sampler: str = "Euler", seed: int = 5, **settings: Any) -> Any:
    pipeline = reference(kind, name)
    scheduler, options = SAMPLERS[sampler]
    config = diffusers.DDIMScheduler.load_config(tiny_folder(name) / "scheduler")
    pipeline.scheduler = scheduler.from_config(config, **options)
    usual = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "guidance_scale": 4.0}
    usual |= {"num_inference_steps": 4, "output_type": "pt"}
    return pipeline(generator=torch.Generator().manual_seed(seed), **{**usual, **settings}).images


def request(**fields: Any) -> tuple[Request, ...]:
    usual = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "seed": 5, "steps": 4}
    return tiny_requests(**{**usual, **fields})


def ours(components: Components, patch: pytest.MonkeyPatch, **fields: Any) -> Tensor:
    """A picture [1, 3, H, W] in [0, 1], taken just before it is rounded to 8 bits."""
    sources = fields.pop("sources", Sources())
    return before_rounding(draw(components, request(**fields), sources), patch)


def same(drawn: Tensor, expected: Tensor) -> None:
    assert expected.std() > 0.05, "a grey picture proves nothing"
    torch.testing.assert_close(drawn, torch.as_tensor(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_text_to_image(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    same(
        ours(model("sdxl"), monkeypatch, sampler=sampler, width=64, height=64),
        theirs("StableDiffusionXLPipeline", "sdxl", sampler, width=64, height=64),
    )


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({"negative_prompt": ""}, {"negative_prompt": None}),
        ({"clip_skip": 2, "guidance_scale": 1.0}, {"clip_skip": 1, "guidance_scale": 1.0}),
        ({"width": 96}, {"width": 96}),
    ],
    ids=["no negative prompt", "clip skip", "wide"],
)
def test_text_to_image_with(
    fields: dict[str, Any], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {"width": 64, "height": 64}
    same(
        ours(model("sdxl"), monkeypatch, **{**size, **fields}),
        theirs("StableDiffusionXLPipeline", "sdxl", **{**size, **settings}),
    )


def picture() -> Image.Image:
    y, x = np.mgrid[:64, :64].astype(np.uint8)
    return Image.fromarray(np.stack([4 * x, 4 * y, 2 * (x + y)], -1), "RGB")


@pytest.mark.parametrize("name", ["sdxl", "sdxl-refiner"])
def test_image_to_image(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = ours(
        model(name),
        monkeypatch,
        init_image="sha256:" + "0" * 64,
        strength=0.5,
        sources=Sources(init_image=picture()),
    )
    expected = theirs("StableDiffusionXLImg2ImgPipeline", name, image=picture(), strength=0.5)
    same(drawn, expected)


@pytest.mark.parametrize("name", ["sdxl", "sdxl-inpaint"])
def test_inpaint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 48))
    drawn = ours(
        model(name),
        monkeypatch,
        init_image="sha256:" + "0" * 64,
        mask="sha256:" + "1" * 64,
        mask_feather=0,
        strength=0.5,
        sources=Sources(init_image=picture(), mask=mask),
    )
    expected = theirs(
        "StableDiffusionXLInpaintPipeline",
        name,
        image=picture(),
        mask_image=mask,
        strength=0.5,
        width=64,
        height=64,
    )
    same(drawn, expected)


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M"])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_the_refiner_goes_on_where_the_base_ends(
    sampler: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, refiner = model("sdxl"), model("sdxl-refiner")
    size = {"width": 64, "height": 64}
    latents = theirs(
        "StableDiffusionXLPipeline",
        "sdxl",
        sampler,
        denoising_end=share,
        output_type="latent",
        num_inference_steps=5,
        **size,
    )
    pipeline = reference("StableDiffusionXLImg2ImgPipeline", "sdxl-refiner")
    monkeypatch.setattr(pipeline, "vae", reference("StableDiffusionXLPipeline", "sdxl").vae)
    expected = theirs(
        "StableDiffusionXLImg2ImgPipeline",
        "sdxl-refiner",
        sampler,
        image=latents,
        denoising_start=share,
        num_inference_steps=5,
    )
    drawn = ours(
        replace(base, refiner=refiner),
        monkeypatch,
        sampler=sampler,
        refiner=str(tiny_folder("sdxl-refiner")),
        refiner_start=share,
        steps=5,
        **size,
    )
    same(drawn, expected)
    alone = ours(base, monkeypatch, sampler=sampler, steps=5, **size)
    assert not torch.allclose(drawn, alone, atol=1e-2)


def test_base_and_refiner_are_named_in_the_request_and_in_the_picture() -> None:
    base, refiner = str(tiny_folder("sdxl")), str(tiny_folder("sdxl-refiner"))
    steps: list[tuple[int, int]] = []
    (picture,) = Studio(base, device="cpu").generate(
        PROMPT,
        refiner=refiner,
        steps=4,
        seed=1,
        width=64,
        height=64,
        on_step=lambda step: steps.append((step.index, step.total)),
    )
    assert picture.request.refiner == refiner
    assert picture.request.refiner_start == 0.8
    assert steps == [(i, 4) for i in (1, 2, 3, 4)]


def test_a_refiner_of_other_latents_is_refused() -> None:
    base = model("sdxl")
    other = replace(base, vae=SimpleNamespace(config={**base.vae.config, "scaling_factor": 0.18}))
    with pytest.raises(ModelError, match="cannot go on with the latents") as caught:
        refined(other, model("sdxl-refiner"))
    assert "the same VAE" in caught.value.valid


def test_a_missing_refiner_and_a_lone_start_are_refused_before_weights_load() -> None:
    with pytest.raises(RequestError, match=r"refiner_start = 0\.5: has no effect"):
        Request.of(prompt="x", refiner_start=0.5)
    studio = Studio(str(tiny_folder("sdxl")))
    with pytest.raises(ModelError, match="no such model"):
        studio.resolve("x", refiner="no such model", width=64, height=64)


def test_emphasis_windows_and_schedules_reach_both_towers() -> None:
    encode = model("sdxl").prompt_encoder.schedule
    plain, _ = encode("a cat", "x").at(0)
    strong, _ = encode("a (cat:1.4)", "x").at(0)
    for half in (slice(0, 32), slice(32, 64)):
        assert not torch.equal(plain.embeds[..., half], strong.embeds[..., half])
    long, short = encode("a cat BREAK a dog", "x").at(0)
    assert long.embeds.shape == short.embeds.shape == (1, 154, 64)
    assert long.pooled is not None
    assert plain.pooled is not None
    assert torch.equal(long.pooled, plain.pooled)
    changing = encode("[cat:dog:1]", "", 2)
    (cat, zero), (dog, _) = changing.at(0), changing.at(1)
    assert cat.pooled is not None
    assert dog.pooled is not None
    assert not torch.equal(cat.pooled, dog.pooled)
    assert not zero.embeds.any()
    assert zero.pooled is not None
    assert not zero.pooled.any()
