from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from studio.errors import NotANumberError, OutOfMemoryError
from studio.pipelines import recovery, vae_tiling
from studio.pipelines.text_to_image import text_to_image
from tests.tiny import tiny_model, tiny_requests

NO_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    MemoryError(),
)


def spoil(
    monkeypatch: pytest.MonkeyPatch, model: Any, name: str, fault: Callable[..., Any]
) -> None:
    """Lets ``fault(original, *args)`` stand in for a method of a model."""
    original = getattr(model, name)
    monkeypatch.setattr(model, name, lambda *args, **kwargs: fault(original, *args, **kwargs))


@contextmanager
def in_half_precision(model: Any) -> Iterator[None]:
    """Within, a part of the shared tiny model is bf16; then its weights are back."""
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.to(torch.bfloat16)
    try:
        yield
    finally:
        model.to(torch.float32).load_state_dict(before)


def draw(count: int = 1, **options: Any) -> list[Any]:
    return list(text_to_image(tiny_model(), tiny_requests(count), **options))


@pytest.mark.parametrize("error", NO_MEMORY)
def test_an_attempt_without_memory_has_no_result(error: Exception) -> None:
    def run() -> None:
        raise error

    assert recovery.attempt(run) is None


def test_without_memory_the_batch_is_halved_and_the_notes_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = [np.asarray(result.image).astype(int) for result in draw(3)]

    def fault(forward: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(x) > 2:
            raise torch.OutOfMemoryError
        return forward(x, *args, **kwargs)

    spoil(monkeypatch, tiny_model().unet, "forward", fault)
    results = draw(3, batch_size=3)
    notes = ("out of memory: batch of 3 -> 1",)
    assert [result.recovery for result in results] == [notes] * 3
    for result, expected in zip(results, plain, strict=True):
        assert (np.asarray(result.image) == expected).all()


def test_one_picture_that_does_not_fit_ends_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        spoil(patch, tiny_model().unet, "forward", fault)
        with pytest.raises(OutOfMemoryError, match="denoise one picture"):
            draw(batch_size=4)
    assert draw()[0].recovery == ()


def test_any_other_error_of_the_model_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: Any, **__: Any) -> None:
        raise RuntimeError("a matrix of the wrong shape")

    spoil(monkeypatch, tiny_model().unet, "forward", fault)
    with pytest.raises(RuntimeError, match="wrong shape"):
        draw(2, batch_size=2)


def test_a_picture_too_large_to_decode_is_decoded_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = tiny_model().vae

    def fault(forward: Any, z: Tensor, *args: Any, **kwargs: Any) -> Any:
        if z.shape[-1] > 8:
            raise torch.OutOfMemoryError
        return forward(z, *args, **kwargs)

    plain = np.asarray(draw()[0].image).astype(int)
    spoil(monkeypatch, vae.decoder, "forward", fault)
    result = draw()[0]
    assert result.recovery == ("out of memory: decoded in tiles of 32 px",)
    assert result.image.size == (64, 64)
    assert abs(np.asarray(result.image) - plain).mean() < 12
    monkeypatch.undo()
    assert (np.asarray(draw()[0].image) == plain).all()


def test_tiles_are_taken_at_once_where_memory_is_measured_to_be_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vae = tiny_model().vae
    short = vae_tiling.peak_bytes(vae, 48, 48) / 0.8
    monkeypatch.setattr(vae_tiling, "free_bytes", lambda _: short)
    assert draw()[0].recovery == ("little free memory: decoded in tiles of 32 px",)
    monkeypatch.setattr(vae_tiling, "free_bytes", lambda _: 4 * short)
    assert draw()[0].recovery == ()


def test_a_picture_that_cannot_be_decoded_in_tiles_ends_in_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fault(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    spoil(monkeypatch, tiny_model().vae.decoder, "forward", fault)
    with pytest.raises(OutOfMemoryError, match="even in tiles"):
        draw()


def test_a_picture_that_is_nan_is_decoded_again_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = np.asarray(draw()[0].image).astype(int)
    vae = tiny_model().vae

    def fault(decode: Any, z: Tensor, **kwargs: Any) -> Any:
        (picture,) = decode(z, **kwargs)
        return (picture if z.dtype == torch.float32 else picture * float("nan"),)

    with in_half_precision(vae):
        spoil(monkeypatch, vae, "decode", fault)
        result = draw()[0]
        assert vae.dtype == torch.bfloat16
    assert result.recovery == ("picture not finite: decoded again in fp32",)
    assert abs(np.asarray(result.image) - plain).mean() < 5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_picture_that_stays_broken_is_never_a_result(
    monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    def fault(decode: Any, z: Tensor, **kwargs: Any) -> Any:
        (picture,) = decode(z, **kwargs)
        picture[0, 0, 3, 3] = value
        return (picture,)

    spoil(monkeypatch, tiny_model().vae, "decode", fault)
    with pytest.raises(NotANumberError, match="seed 5: the decoded picture"):
        draw()


def test_broken_latents_cost_no_neighbour_its_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(forward: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        (output,) = forward(x, *args, **kwargs)
        output[[1, 4]] = float("nan")  # both predictions of the second picture
        return (output,)

    spoil(monkeypatch, tiny_model().unet, "forward", fault)
    results = text_to_image(tiny_model(), tiny_requests(3), batch_size=3)
    assert [next(results).request.seed for _ in range(2)] == [5, 7]
    with pytest.raises(NotANumberError, match="seed 6: the latents"):
        next(results)


def test_latents_broken_in_half_precision_are_denoised_again_in_fp32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model()
    plain = np.asarray(draw()[0].image).astype(int)

    def fault(forward: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        (output,) = forward(x, *args, **kwargs)
        return (output if x.dtype == torch.float32 else output * float("nan"),)

    monkeypatch.setitem(model.runtime.__dict__, "precision", "bf16")
    with in_half_precision(model.unet):
        spoil(monkeypatch, model.unet, "forward", fault)
        result = draw()[0]
    assert result.recovery == ("latents not finite: denoised again in fp32",)
    assert abs(np.asarray(result.image) - plain).mean() < 5


def test_attempt_passes_a_result_through() -> None:
    assert recovery.attempt(lambda: 3) == 3


@pytest.mark.parametrize("fits", [1, 0])
def test_what_ran_out_of_memory_holds_no_tensor(monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    model, held = tiny_model(), list[weakref.ref[Tensor]]()

    def fault(forward: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(x) > 2 * fits:
            activations = torch.zeros(len(x), 9)
            held.extend(weakref.ref(tensor) for tensor in (activations, x))
            raise torch.OutOfMemoryError
        assert not any(tensor() is not None for tensor in held)
        return forward(x, *args, **kwargs)

    spoil(monkeypatch, model.unet, "forward", fault)
    if fits:
        draw(4, batch_size=4)
    else:
        with pytest.raises(OutOfMemoryError) as caught:
            draw(4, batch_size=4)
        assert caught.tb, "which a server may keep"
    assert len(held) >= 4
    assert [tensor() for tensor in held] == [None] * len(held)
