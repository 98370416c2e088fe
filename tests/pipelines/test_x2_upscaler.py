"""Stable Diffusion's x2 latent upscaler: against diffusers' pipeline, and what it needs beside."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from studio.errors import RequestError
from studio.pipelines import tiled_unet
from studio.pipelines.cards import X2_UPSCALER
from studio.pipelines.components import Components, load
from studio.pipelines.drawing import draw
from studio.pipelines.inputs import Sources
from studio.pipelines.placement import Runtime
from studio.pipelines.stages import Step
from studio.pipelines.vae_tiling import shared_statistics
from tests import tiny
from tests.pipelines.test_super_resolution import drawing, ours, requests

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@cache
def folder() -> Path:
    """The upscaler's layout with small random weights."""
    made = Path(shutil.copytree(tiny.tiny_components(), tiny._holder.name + "/tiny-x2"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        kind: Any = UNet2DConditionModel
        unet = kind(
            sample_size=16,
            in_channels=8,
            out_channels=5,
            block_out_channels=(32, 32, 64, 64),
            norm_num_groups=None,
            act_fn="gelu",
            attention_head_dim=8,
            cross_attention_dim=32,
            conv_in_kernel=1,
            conv_out_kernel=1,
            mid_block_type=None,
            down_block_types=("KDownBlock2D", *("KCrossAttnDownBlock2D",) * 3),
            up_block_types=(*("KCrossAttnUpBlock2D",) * 3, "KUpBlock2D"),
            resnet_time_scale_shift="scale_shift",
            time_embedding_type="fourier",
            timestep_post_act="gelu",
            time_cond_proj_dim=160,
        )
    shutil.rmtree(made / "unet")
    tiny._scaled(unet, unet.conv_out, 2.0).save_pretrained(made / "unet")
    scheduler = tiny.scheduler_config() | {
        "_class_name": "EulerDiscreteScheduler",
        "prediction_type": "original_sample",
        "timestep_spacing": "linspace",
    }
    tiny._write_json(made / "scheduler" / "scheduler_config.json", scheduler)
    parts = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
    index = json.loads((made / "model_index.json").read_text())
    index = {name: index[name] for name in ("_diffusers_version", *parts)}
    index["scheduler"] = ["diffusers", "EulerDiscreteScheduler"]
    index["_class_name"] = "StableDiffusionLatentUpscalePipeline"
    tiny._write_json(made / "model_index.json", index)
    return made


@cache
def upscaler() -> Components:
    return load(str(folder()), Runtime(device="cpu"))


@cache
def of_diffusers() -> Any:
    kind: Any = diffusers.StableDiffusionLatentUpscalePipeline
    pipeline = kind.from_pretrained(folder(), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("guidance", [4.0, 1.0])
@pytest.mark.parametrize("steps", [3, 7])
def test_it_equals_the_latent_upscaling_pipeline_of_diffusers(
    guidance: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = drawing(32, 48)
    drawn = ours(
        upscaler(), image, monkeypatch, sampler="Euler", schedule="Automatic", steps=steps,
        guidance_scale=guidance, negative_prompt="blue",
    )  # fmt: skip
    expected = of_diffusers()(
        prompt="a cat",
        negative_prompt="blue",
        image=image,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).images
    assert expected.shape == (1, 3, 96, 64)
    assert expected.std() > 0.05, "a grey picture proves nothing"
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=0)


def test_the_folder_says_what_it_is() -> None:
    card = upscaler().card
    assert (card.family, card.times) == (X2_UPSCALER, 2)
    assert (card.defaults.sampler, card.defaults.upscale, card.defaults.noise_level) == (
        "Euler",
        2,
        0,
    )


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "DDIM", "Heun"])
def test_every_sampler_comes_to_the_picture_that_the_model_sees(sampler: str) -> None:
    """All solve one equation, so that they agree where steps are many."""
    image = drawing(16, 16)
    usual: dict[str, Any] = {"steps": 20, "guidance_scale": 1.0}
    pictures = [
        next(draw(upscaler(), requests(upscaler(), sampler=name, **usual), Sources(image))).image
        for name in ("Euler", sampler)
    ]
    assert pictures[1].size == (32, 32)
    euler, other = (np.asarray(picture, float) for picture in pictures)
    assert euler.std() > 10
    assert np.abs(euler - other).mean() < 2


@pytest.mark.parametrize(("width", "height"), [(16, 16), (19, 30), (5, 3)])
@pytest.mark.parametrize("times", [2, 3])
def test_any_size_is_enlarged_and_previewed(width: int, height: int, times: int) -> None:
    size = width * times, height * times
    previews: list[tuple[int, int]] = []

    def watch(step: Step) -> None:
        previews.extend(image.size for image in step.preview())

    asked = requests(upscaler(), upscale=times)
    result = next(draw(upscaler(), asked, Sources(drawing(width, height)), on_step=watch))
    assert result.image.size == size
    assert previews == [size] * 3


def test_pictures_of_a_batch_do_not_depend_on_each_other() -> None:
    model, sources = upscaler(), Sources(drawing(16, 32))
    together = list(draw(model, requests(model, 3), sources, batch_size=3))
    alone = [next(draw(model, [one], sources)) for one in requests(model, 3)]
    for one, other in zip(together, alone, strict=True):
        difference = np.abs(np.asarray(one.image, int) - np.asarray(other.image, int))
        assert difference.max() <= 1
    assert together[0].image != together[1].image


def test_statistics_shared_by_one_tile_are_its_own() -> None:
    model = upscaler().unet
    torch.manual_seed(6)
    seen = {
        "encoder_hidden_states": torch.randn(2, 16, 32),
        "timestep_cond": torch.randn(2, 160),
    }
    x, t = torch.randn(2, 8, 16, 16), torch.tensor(0.3)

    def run() -> Tensor:
        output: Tensor = model(x, t, **seen)[0]
        return output

    with torch.no_grad():
        alone = run()
        with shared_statistics(model, run):
            torch.testing.assert_close(run(), alone, atol=1e-4, rtol=1e-4)


def test_tiles_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    image = drawing(64, 48)
    whole = ours(upscaler(), image, monkeypatch)
    monkeypatch.setattr(tiled_unet, "_EDGE", 24)
    monkeypatch.setattr(tiled_unet, "_OVERLAP", 8)
    tiled = ours(upscaler(), image, monkeypatch)
    assert tiled.shape == whole.shape == (1, 3, 96, 128)
    assert (whole - tiled).abs().mean() < whole.std() / 4


def test_it_reads_the_prompt() -> None:
    model, sources = upscaler(), Sources(drawing(16, 16))
    first, second = (
        next(draw(model, requests(model, prompt=prompt), sources)).image for prompt in ("a", "zz")
    )
    assert first != second


def test_it_knows_no_noise_level() -> None:
    with pytest.raises(RequestError, match="noise_level = 20"):
        draw(upscaler(), requests(upscaler(), noise_level=20), Sources(drawing(16, 16)))
