from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from studio.errors import Cancelled
from studio.pipelines import stages
from studio.pipelines.conditioning import Conditioning
from studio.pipelines.guidance import Guided
from studio.pipelines.noise import generators, standard_normal
from studio.pipelines.prompt_encoding import ConditioningSchedule
from studio.pipelines.request import Request
from studio.pipelines.stages import Start
from studio.schedulers import catalogue
from studio.schedulers.stepping import Scheduler
from tests.tiny import scheduler_config, tiny_model, tiny_requests

SHAPE = (4, 8, 8)


def euler(steps: int = 5, **config: object) -> Scheduler:
    return catalogue.build("Euler", "Automatic", steps, {**scheduler_config(), **config})


def conditioning(tokens: int, *values: float) -> ConditioningSchedule:
    positive = tuple(Conditioning(torch.full((1, tokens, 2), value)) for value in values)
    return ConditioningSchedule(positive, positive)


def first_latents(
    batch: Sequence[Request], noise: Sequence[torch.Generator], scheduler: Scheduler
) -> Tensor:
    return Start.from_noise(stages.first_noise(batch, SHAPE, noise), scheduler).latents


def test_first_latents_have_the_schedulers_noise_level() -> None:
    scheduler = euler()
    batch = tiny_requests(2)
    latents = first_latents(batch, generators([5, 6]), scheduler)
    unit = standard_normal(generators([5, 6]), SHAPE)
    torch.testing.assert_close(latents, unit * scheduler.init_noise_sigma)


def test_a_variation_turns_the_first_latents_by_its_own_seed() -> None:
    def latents(**fields: Any) -> Tensor:
        batch = tiny_requests(seed=5, **fields)
        return first_latents(batch, generators([5]), euler())

    plain = latents()
    assert torch.equal(latents(variation_seed=7), plain)
    slight = latents(variation_seed=7, variation_strength=0.1)
    full = latents(variation_seed=7, variation_strength=1.0)
    assert 0 < (slight - plain).norm() < (full - plain).norm() / 2
    other = first_latents(tiny_requests(seed=7), generators([7]), euler())
    torch.testing.assert_close(full, other)


def test_the_loop_finds_the_picture_that_the_denoiser_knows() -> None:
    picture = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    scheduler = euler(20, prediction_type="sample")
    noise = generators([1, 2])
    start = Start.from_noise(stages.first_noise(tiny_requests(2), SHAPE, noise), scheduler)
    seen: list[int] = []

    def watch(index: int, predicted: Tensor) -> None:
        seen.append(index)
        torch.testing.assert_close(predicted, picture)

    found = stages.denoise(lambda *_: picture, scheduler, start, noise, watch=watch)
    torch.testing.assert_close(found, picture, atol=1e-3, rtol=1e-3)
    assert seen == list(range(20))


def test_cancel_is_asked_before_each_step() -> None:
    calls: list[int] = []

    def denoiser(x: Tensor, _: Tensor, index: int) -> Tensor:
        calls.append(index)
        return x

    start = Start(torch.zeros(1, *SHAPE))
    with pytest.raises(Cancelled, match="step 3 of 5"):
        stages.denoise(denoiser, euler(5), start, generators([0]), cancel=lambda: len(calls) == 2)
    assert calls == [0, 1]


def test_prompts_change_with_the_step_also_where_a_step_takes_two_evaluations() -> None:
    seen: list[float] = []

    def denoiser(x: Tensor, _: Tensor, text: Conditioning) -> Tensor:
        seen.append(text.embeds.mean().item())
        return x

    predict = stages.prompted(Guided(denoiser, 1.0), [conditioning(4, 0.0, 1.0, 2.0)], 3, 5)
    for index in range(5):
        predict(torch.zeros(1, *SHAPE), torch.tensor(0), index)
    assert seen == [0, 0, 1, 1, 2]


def test_prompts_of_different_length_share_a_batch() -> None:
    sizes: list[tuple[int, ...]] = []

    def denoiser(x: Tensor, _: Tensor, text: Conditioning) -> Tensor:
        sizes.append(tuple(text.embeds.shape))
        return x * text.embeds.mean((1, 2))[:, None, None, None]

    x = torch.randn(2, *SHAPE)
    short, long = conditioning(4, 2.0), conditioning(8, 3.0)
    together = stages.prompted(Guided(denoiser, 2.0), [short, long], 1, 1)
    torch.testing.assert_close(together(x, torch.tensor(0), 0), torch.stack([2 * x[0], 3 * x[1]]))
    assert sizes == [(2, 4, 2), (2, 8, 2)]


def test_decode_undoes_the_decoders_scaling() -> None:
    vae = tiny_model().vae
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = vae.decode(latents / vae.config.scaling_factor).sample
        torch.testing.assert_close(stages.decode(vae, latents), expected)


@pytest.mark.parametrize("edge", [8, 96])
def test_previews_are_decoded_small_and_shown_in_full(edge: int) -> None:
    sizes: list[tuple[int, ...]] = []

    class Vae(SimpleNamespace):
        def decode(self, z: Tensor, **_: object) -> tuple[Tensor]:
            sizes.append(tuple(z.shape[-2:]))
            return (z[:, :3].repeat_interleave(2, -1).repeat_interleave(2, -2),)

    vae = Vae(config=SimpleNamespace(scaling_factor=1.0), dtype=torch.float32)
    images = stages.preview(vae, torch.full((2, 4, edge, edge // 2), 0.5), (edge, 2 * edge))
    assert [image.size for image in images] == [(edge, 2 * edge)] * 2
    assert max(sizes[0]) == min(edge, 32)
    assert np.asarray(images[0]).mean() == pytest.approx(191, abs=1)


def test_pixels_are_rounded_and_clipped() -> None:
    picture = torch.tensor([-3.0, -1.0, 0.0, 0.4999, 1.0, 9.0]).expand(3, 1, 6)
    pixels = np.asarray(stages.to_pil(picture))
    assert pixels.shape == (1, 6, 3)
    assert pixels[0, :, 0].tolist() == [0, 0, 128, 191, 255, 255]
