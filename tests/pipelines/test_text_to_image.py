from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from studio.errors import Cancelled, RequestError
from studio.pipelines import stages
from studio.pipelines.request import Request
from studio.pipelines.text_to_image import Result, Step, text_to_image
from tests.tiny import tiny_model, tiny_requests

STOCHASTIC = ["Euler a", "DPM++ SDE", "DPM++ 2M SDE", "DDPM", "Restart"]


def draw(requests: Sequence[Request], **options: Any) -> list[Result]:
    return list(text_to_image(tiny_model(), requests, **options))


def pixels(result: Result) -> Any:
    return np.asarray(result.image).astype(int)


@pytest.fixture
def latents(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Collects the latents that each batch ends with."""
    seen: list[Tensor] = []
    denoise = stages.denoise

    def spy(*args: Any, **kwargs: Any) -> Tensor:
        seen.append(denoise(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(stages, "denoise", spy)
    return seen


def test_one_picture_a_request_in_order() -> None:
    requests = tiny_requests(2, width=72, height=64)
    results = draw(requests)
    assert [result.request for result in results] == list(requests)
    assert all(result.image.size == (72, 64) for result in results)
    assert all(result.image.mode == "RGB" and result.recovery == () for result in results)
    assert all(result.timings.denoise_s > 0 and result.timings.decode_s > 0 for result in results)
    assert abs(pixels(results[0]) - pixels(results[1])).max() > 50


def test_no_requests_no_pictures() -> None:
    assert draw([]) == []


@pytest.mark.parametrize("sampler", ["DPM++ 2M", *STOCHASTIC])
def test_the_batch_size_changes_nothing(sampler: str, latents: list[Tensor]) -> None:
    requests = tiny_requests(8, sampler=sampler, steps=2, seed=2**64 - 2)
    drawn = {}
    for size in (1, 2, 4, 8):
        latents.clear()
        pictures = [pixels(result) for result in draw(requests, batch_size=size)]
        assert [len(part) for part in latents] == [size] * (8 // size)
        drawn[size] = torch.cat(latents), pictures
    for size in (2, 4, 8):
        torch.testing.assert_close(drawn[size][0], drawn[1][0], atol=1e-4, rtol=0)
        for one, other in zip(drawn[size][1], drawn[1][1], strict=True):
            assert abs(one - other).max() <= 1


@pytest.mark.parametrize("sampler", ["Euler", *STOCHASTIC])
def test_picture_i_equals_a_single_run_with_seed_plus_i_bit_for_bit(sampler: str) -> None:
    batch = draw(tiny_requests(3, sampler=sampler, seed=40))
    alone = draw(tiny_requests(1, sampler=sampler, seed=42))
    assert (pixels(batch[2]) == pixels(alone[0])).all()


def test_variations_stay_near_the_seed_and_differ() -> None:
    plain, far = (pixels(draw(tiny_requests(seed=seed))[0]) for seed in (1, 2))
    fields: dict[str, Any] = {"seed": 1, "variation_seed": 8, "variation_strength": 0.05}
    near = [pixels(result) for result in draw(tiny_requests(2, **fields))]
    assert 0 < abs(near[0] - near[1]).mean() < abs(plain - far).mean()
    assert 0 < abs(near[0] - plain).mean() < abs(plain - far).mean()


def test_prompts_in_one_batch_do_not_mix() -> None:
    long = "a very long prompt, " * 3
    prompts = ["a cat", long, "[red:blue:0.5] dog"]
    requests = [tiny_requests(prompt=prompt)[0] for prompt in prompts]
    together = draw(requests, batch_size=3)
    for result, request in zip(together, requests, strict=True):
        assert abs(pixels(result) - pixels(draw([request])[0])).max() <= 1


def test_the_negative_prompt_matters_only_under_guidance() -> None:
    def change(**fields: Any) -> Any:
        plain, other = (draw(tiny_requests(negative_prompt=n, **fields)) for n in ("", "a dog"))
        return abs(pixels(plain[0]) - pixels(other[0])).max()

    assert change(guidance_scale=5.0) > 0
    assert change(guidance_scale=1.0) == 0
    assert change(guidance_scale=5.0, guidance_start=1.0) == 0


def test_guidance_costs_no_second_pass_outside_its_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unet, sizes = tiny_model().unet, []
    forward = unet.forward

    def spy(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(x))
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(unet, "forward", spy)
    draw(tiny_requests(steps=4, guidance_start=0.25, guidance_end=0.75))
    draw(tiny_requests(steps=2, guidance_scale=1.0))
    assert sizes == [1, 2, 2, 1, 1, 1]


def test_steps_are_reported_with_a_preview_that_ends_in_the_picture() -> None:
    steps: list[Step] = []
    requests = tiny_requests(2, width=72)
    results = draw(requests, on_step=steps.append, batch_size=2)
    assert [(step.index, step.total) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    assert all(step.requests == requests for step in steps)
    previews = [step.preview() for step in steps]
    assert [image.size for image in previews[0]] == [(72, 64)] * 2
    errors = [abs(np.asarray(p[0]).astype(int) - pixels(results[0])).mean() for p in previews]
    assert errors[2] < errors[0] / 3
    assert errors[2] < 3


@pytest.mark.parametrize("sampler", ["Euler", "Heun", "DPM++ 2M", "DDIM", "UniPC"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_last_preview_is_close_to_the_picture(sampler: str, prediction: Any) -> None:
    seen: list[Any] = []
    requests = tiny_requests(sampler=sampler, steps=6, guidance_scale=1.0, schedule="Automatic")
    model = tiny_model(prediction)
    result = next(
        text_to_image(model, requests, on_step=lambda step: seen.append(step.preview()[0]))
    )
    final = np.asarray(result.image).astype(int)
    errors = [abs(np.asarray(image).astype(int) - final).mean() for image in seen]
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize("after", [0, 2, 3])
def test_cancel_stops_between_steps_and_before_decoding(after: int) -> None:
    steps: list[Step] = []
    with pytest.raises(Cancelled):
        draw(tiny_requests(2), on_step=steps.append, cancel=lambda: len(steps) >= after)
    assert len(steps) == after


def test_what_was_drawn_before_a_cancel_is_kept() -> None:
    stop = threading.Event()
    results = text_to_image(tiny_model(), tiny_requests(2), cancel=stop.is_set)
    assert next(results).request.seed == 5
    stop.set()
    with pytest.raises(Cancelled):
        next(results)


def test_the_caller_keeps_its_grad_mode_between_pictures() -> None:
    results = text_to_image(tiny_model(), tiny_requests(2))
    next(results)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    draw(tiny_requests(sampler="DPM++ SDE"))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_repeated_prompt_calls_no_text_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    first = draw(tiny_requests())[0]
    monkeypatch.setattr(tiny_model().text_encoder, "forward", None)
    assert (pixels(draw(tiny_requests())[0]) == pixels(first)).all()


def test_requests_that_cannot_share_a_batch_are_refused_at_the_call() -> None:
    mixed = [*tiny_requests(), *tiny_requests(steps=4)]
    with pytest.raises(RequestError, match="steps = 4"):
        text_to_image(tiny_model(), mixed)
