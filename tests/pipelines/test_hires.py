from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from spandrel.architectures.ESRGAN import ESRGAN

from studio.errors import Cancelled, ModelError, NotANumberError, RequestError
from studio.pipelines import recovery, stages
from studio.pipelines.components import load
from studio.pipelines.drawing import draw
from studio.pipelines.enlarging import bilinear
from studio.pipelines.inputs import Sources
from studio.pipelines.placement import Runtime
from studio.pipelines.request import Request
from tests.tiny import tiny_model, tiny_requests


def hires(count: int = 1, **fields: Any) -> tuple[Request, ...]:
    return tiny_requests(count, **{"hires_scale": 1.5, **fields})


def drawn(requests: tuple[Request, ...], **options: Any) -> list[Any]:
    return list(draw(tiny_model(), requests, Sources(), **options))


def pixels(image: Image.Image) -> Any:
    return np.asarray(image).astype(int)


def test_the_picture_is_larger_and_its_request_as_it_was_asked() -> None:
    requests = hires(hires_strength=0.7, hires_steps=4)
    (result,) = drawn(requests)
    assert result.image.size == (96, 96)
    assert result.request == requests[0]


def test_strength_0_is_the_small_picture_enlarged() -> None:
    (small,) = drawn(tiny_requests())
    (large,) = drawn(hires(hires_strength=0.0))
    latents = torch.nn.functional.interpolate(small.latents, (24, 24), mode="bilinear")
    expected = recovery.decoded(tiny_model().vae, latents, [], "")
    levels = ((expected / 2 + 0.5).clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert abs(pixels(large.image) - levels).max() <= 1


def test_between_the_drawings_is_image_to_image_from_the_mean_that_the_vae_sees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (small,) = drawn(tiny_requests())
    (large,) = drawn(hires(hires_strength=0.5, hires_upscaler="lanczos", hires_steps=4))
    enlarged = small.image.resize((96, 96), Image.Resampling.LANCZOS)
    again = tiny_requests(width=96, height=96, init_image="x", strength=0.5, steps=4)
    monkeypatch.setattr(stages.Posterior, "sample", lambda seen, _: seen.mean)
    (expected,) = draw(tiny_model(), again, Sources(enlarged))
    assert abs(pixels(large.image) - pixels(expected.image)).max() <= 1


def test_an_upscaler_enlarges_the_picture_in_between(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(
        ESRGAN(num_filters=8, num_blocks=1, scale=4).state_dict(), tmp_path / "4x.safetensors"
    )
    upscaler = str(tmp_path / "4x.safetensors")
    (small,) = drawn(tiny_requests())
    (large,) = drawn(hires(hires_strength=0.0, hires_upscaler=upscaler))
    x = stages.to_tensor(small.image) / 2 + 0.5
    with torch.no_grad():
        whole = load(upscaler, Runtime(device="cpu")).upscaler(x)
        twice = stages.to_pil(whole[0] * 2 - 1).resize((128, 128), Image.Resampling.LANCZOS)
        enlarged = twice.resize((96, 96), Image.Resampling.LANCZOS)
        seen = stages.posterior(tiny_model().vae, stages.to_tensor(enlarged)).mean
        expected = stages.to_pil(recovery.decoded(tiny_model().vae, seen, [], ""))
    assert abs(pixels(large.image) - pixels(expected)).max() <= 1


def test_a_batch_is_what_its_pictures_are_alone() -> None:
    together = drawn(hires(3), batch_size=2)
    for request, result in zip(hires(3), together, strict=True):
        assert result.request == request
        (alone,) = drawn((request,))
        assert abs(pixels(alone.image) - pixels(result.image)).max() <= 1


def test_the_steps_of_both_drawings_are_counted_together() -> None:
    steps: list[Any] = []
    drawn(hires(hires_steps=4, hires_strength=0.5), on_step=steps.append)
    assert [(step.index, step.total) for step in steps] == [(n, 5) for n in range(1, 6)]
    assert steps[0].preview()[0].size == (64, 64)
    assert steps[-1].preview()[0].size == (96, 96)


def test_a_cancel_stops_the_second_drawing_too() -> None:
    steps: list[Any] = []
    with pytest.raises(Cancelled):
        drawn(hires(), on_step=steps.append, cancel=lambda: len(steps) == 4)
    assert len(steps) == 4


def test_a_broken_picture_costs_no_neighbour_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = recovery.decoded

    def fault(vae: Any, latents: Any, notes: list[str], who: str) -> Any:
        if who == "seed 6":
            raise NotANumberError("seed 6: broken.")
        return decoded(vae, latents, notes, who)

    monkeypatch.setattr(recovery, "decoded", fault)
    results = draw(tiny_model(), hires(3), Sources(), batch_size=3)
    assert [next(results).request.seed for _ in range(2)] == [5, 7]
    with pytest.raises(NotANumberError, match="seed 6"):
        next(results)


def test_latents_that_wrap_are_enlarged_around_the_edge() -> None:
    latents = torch.randn(1, 4, 8, 12)
    large = bilinear(latents, (16, 24), wrap=True)
    rolled = bilinear(latents.roll((3, 5), (2, 3)), (16, 24), wrap=True)
    torch.testing.assert_close(rolled, large.roll((6, 10), (2, 3)), atol=1e-5, rtol=1e-5)
    plain = bilinear(latents, (16, 24))
    torch.testing.assert_close(large[..., 2:-2, 2:-2], plain[..., 2:-2, 2:-2])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hires_scale": 4.0, "width": 2048}, "hires_scale = 4.0: makes 2048 pixels larger"),
        ({"hires_scale": 2.0, "init_image": "x.png"}, "from text alone"),
        ({"hires_strength": 0.5}, "no effect without hires_scale"),
        ({"hires_scale": 5.0}, "out of range"),
    ],
)
def test_what_cannot_be_is_refused_at_once(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Request.of(prompt="a cat", **fields)


def test_an_upscaler_that_is_not_there_is_refused_before_anything_is_drawn(
    tmp_path: Path,
) -> None:
    with pytest.raises(ModelError, match="no known model"):
        draw(tiny_model(), hires(hires_upscaler=str(tmp_path / "none")), Sources())
