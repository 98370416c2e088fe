"""Latent super-resolution: against diffusers' upscaling pipeline, in tiles, and with mini's own."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image, ImageDraw
from torch import Tensor

from studio.errors import RequestError
from studio.pipelines import stages, tiled_unet
from studio.pipelines.components import Components, load
from studio.pipelines.drawing import draw
from studio.pipelines.inputs import Sources
from studio.pipelines.placement import Runtime
from studio.pipelines.request import Request
from tests import tiny

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

SAMPLERS = {
    "DDIM": "DDIMScheduler",
    "Euler": "EulerDiscreteScheduler",
    "DPM++ 2M": "DPMSolverMultistepScheduler",
}


def drawing(width: int, height: int) -> Image.Image:
    """Two shapes with hard edges on a colour."""
    picture = Image.new("RGB", (width, height), (250, 220, 60))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((width // 6, height // 6, width // 2, height * 2 // 3), fill=(200, 30, 40))
    pen.rectangle((width // 2, height // 3, width * 5 // 6, height * 5 // 6), fill=(20, 60, 200))
    return picture


@cache
def folder() -> Path:
    """Stable Diffusion's x4 upscaler with small random weights."""
    made = Path(shutil.copytree(tiny.tiny_components(), tiny._holder.name + "/tiny-upscaler"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        kind: Any = UNet2DConditionModel
        unet = kind(
            sample_size=16,
            in_channels=7,
            out_channels=4,
            block_out_channels=(32, 64),
            layers_per_block=1,
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=4,
            num_class_embeds=1000,
        )
    shutil.rmtree(made / "unet")
    tiny._scaled(unet, unet.conv_out, 3.5).save_pretrained(made / "unet")
    vae = json.loads((made / "vae" / "config.json").read_text())
    tiny._write_json(made / "vae" / "config.json", {**vae, "scaling_factor": 0.08333})
    ddpm: Any = diffusers.DDPMScheduler
    ddpm(beta_schedule="scaled_linear", beta_start=0.0001, beta_end=0.02).save_pretrained(
        made / "low_res_scheduler"
    )
    index = json.loads((made / "model_index.json").read_text())
    index = {name: value for name, value in index.items() if "safety" not in name}
    index |= {
        "_class_name": "StableDiffusionUpscalePipeline",
        "low_res_scheduler": ["diffusers", "DDPMScheduler"],
        "max_noise_level": 350,
    }
    index.pop("image_encoder")
    tiny._write_json(made / "model_index.json", index)
    return made


@cache
def upscaler() -> Components:
    return load(str(folder()), Runtime(device="cpu"))


def requests(model: Components, count: int = 1, **fields: object) -> list[Request]:
    usual = {"prompt": "a cat", "seed": 5, "sampler": "Euler", "steps": 3, "guidance_scale": 4.0}
    usual |= {"model": model.name, "init_image": "x.png", "count": count}
    return list(Request.of(**{**usual, **fields}).resolve(model.card.defaults).singles())


def ours(model: Components, image: Image.Image, patch: pytest.MonkeyPatch, **fields: Any) -> Tensor:
    """What the pipeline draws, before it is rounded: [B, 3, H, W] in [0, 1]."""
    pictures: list[Tensor] = []
    to_pil = stages.to_pil

    def spy(picture: Tensor) -> Image.Image:
        pictures.append(picture)
        return to_pil(picture)

    with patch.context() as patched:
        patched.setattr(stages, "to_pil", spy)
        list(draw(model, requests(model, **fields), Sources(image)))
    return (torch.stack(pictures) / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("fields", [{"noise_level": 20}, {"noise_level": 0, "guidance_scale": 1.0}])
def test_it_equals_the_upscaling_pipeline_of_diffusers(
    sampler: str, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = upscaler(), drawing(16, 24)
    drawn = ours(
        model, image, monkeypatch, sampler=sampler, schedule="Automatic", negative_prompt="blue",
        **fields,
    )  # fmt: skip
    kind: Any = diffusers.StableDiffusionUpscalePipeline
    pipeline = kind.from_pretrained(folder(), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    scheduler: Any = getattr(diffusers, SAMPLERS[sampler])
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    expected = pipeline(
        prompt="a cat",
        negative_prompt="blue",
        image=image,
        num_inference_steps=3,
        guidance_scale=fields.get("guidance_scale", 4.0),
        noise_level=fields["noise_level"],
        generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).images
    assert expected.shape == (1, 3, 96, 64)
    assert expected.std() > 0.05, "a grey picture proves nothing"
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("upscale", "side"), [(1, 16), (2, 32), (3, 48), (4, 64)])
def test_the_factor_says_the_size(upscale: int, side: int) -> None:
    asked = requests(upscaler(), upscale=upscale)
    result = next(draw(upscaler(), asked, Sources(drawing(16, 16))))
    assert result.image.size == (side, side)
    assert result.request == asked[0]


def test_pictures_of_a_batch_do_not_depend_on_each_other() -> None:
    model, sources = upscaler(), Sources(drawing(16, 16))
    together = list(draw(model, requests(model, 3), sources, batch_size=3))
    alone = [next(draw(model, [one], sources)) for one in requests(model, 3)]
    for one, other in zip(together, alone, strict=True):
        difference = np.abs(np.asarray(one.image, int) - np.asarray(other.image, int))
        assert difference.max() <= 1
    assert together[0].image != together[1].image


def test_the_noise_level_is_told_and_bounded() -> None:
    model, sources = upscaler(), Sources(drawing(16, 16))
    pictures = [
        next(draw(model, requests(model, noise_level=level), sources)).image for level in (0, 200)
    ]
    assert pictures[0] != pictures[1]
    with pytest.raises(RequestError, match=r"noise_level = 351.*0 to 350"):
        draw(model, requests(model, noise_level=351), sources)


def test_it_enlarges_nothing_but_pictures() -> None:
    fields = {"prompt": "a cat", "model": upscaler().name}
    alone = Request.of(**fields).resolve(upscaler().card.defaults)
    with pytest.raises(RequestError, match=r"upscale.*enlarges pictures only"):
        list(draw(upscaler(), [alone], Sources()))
    with pytest.raises(RequestError, match="too large"):
        draw(upscaler(), requests(upscaler()), Sources(Image.new("RGB", (1032, 16))))


def test_a_transparent_picture_is_seen_on_white() -> None:
    clear, white = Image.new("RGBA", (16, 16), (0, 0, 0, 0)), Image.new("RGB", (16, 16), "white")
    model = upscaler()
    pictures = [next(draw(model, requests(model), Sources(one))).image for one in (clear, white)]
    assert pictures[0] == pictures[1]


def without_attention(model: Components) -> Components:
    """The model with every sight beyond a few latents taken away, so that tiles can be exact."""

    def near(x: Tensor, _t: Tensor, class_labels: Tensor, **_: Any) -> tuple[Tensor]:
        blurred = torch.nn.functional.avg_pool2d(x[:, :4] + x[:, 4:5], 3, 1, 1)
        return (blurred * (1 + class_labels.view(-1, 1, 1, 1) / 1000),)

    class Near(torch.nn.Module):
        config = model.unet.config
        dtype = torch.float32
        forward = staticmethod(near)

    return replace(model, unet=Near())


def test_tiles_and_the_whole_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    model, image = without_attention(upscaler()), drawing(48, 40)
    whole = ours(model, image, monkeypatch)
    monkeypatch.setattr(tiled_unet, "_EDGE", 16)
    monkeypatch.setattr(tiled_unet, "_OVERLAP", 8)
    tiled = ours(model, image, monkeypatch)
    assert (whole - tiled).abs().max() < 1e-4
