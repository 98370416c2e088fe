"""What to try when memory runs out or numbers turn into NaN, before a picture is given up.

Each rung that was needed is noted, and the notes stand in the picture's metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from studio.errors import NotANumberError, OutOfMemoryError
from studio.pipelines import memory, offload
from studio.pipelines.stages import decode
from studio.pipelines.vae_tiling import SMALLEST, latent_scale, tile_edge

T = TypeVar("T")


def attempt(run: Callable[[], T]) -> T | None:
    """``run()``, or None where memory did not suffice; what it held is free again by then."""
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    memory.give_back()
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that. On some devices torch says so in words only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    signs = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return any(sign in str(error) for sign in signs)


def smaller(count: int, models: Iterable[Any], notes: list[str]) -> int:
    """The next batch size to try after ``count`` images did not fit.

    For one image, the models' parts take less memory (see :mod:`studio.pipelines.offload`).

    Args:
        count: images of the batch.
        models: the U-Nets in use.
        notes: gets a line.

    Raises:
        OutOfMemoryError: there is no smaller way.
    """
    if count > 1:
        notes.append(f"out of memory: batch of {count} -> {count // 2}")
        return count // 2
    lowered = [mode for mode in map(offload.lower, models) if mode]
    if not lowered:
        raise OutOfMemoryError(
            "Memory does not suffice to denoise one picture of this size.",
            valid="a smaller width or height, memory lowest, or another device or precision",
        )
    notes.append(f"out of memory: memory {lowered[0]}")
    return 1


def too_large_to_load(name: str, plan: str) -> OutOfMemoryError:
    """The error for a model whose weights do not fit; ``plan`` says what was expected."""
    return OutOfMemoryError(
        f"Memory does not suffice to load {name} ({plan}).",
        valid="memory low or lowest, half precision on a GPU, or a smaller model",
    )


def decoded(vae: Any, latents: Tensor, notes: list[str], who: str) -> Tensor:
    """One finite picture [3, H, W] of latents [1, C, h, w]: whole, else in tiles, else in fp32.

    Args:
        vae: diffusers' AutoencoderKL.
        latents: as the sampler left them.
        notes: gets a line for each rung.
        who: names the picture in errors.

    Raises:
        OutOfMemoryError: not even tiles fit.
        NotANumberError: the latents, or the picture decoded in fp32, are not finite.
    """
    if not latents.isfinite().all():
        raise NotANumberError(
            f"{who}: the latents are not finite (NaN or infinity).",
            valid="precision fp32, less guidance, more steps or another sampler",
        )
    picture = _decoded_somehow(vae, latents, notes)
    if not picture.isfinite().all():
        notes.append("picture not finite: decoded again in fp32")
        with in_fp32(vae):
            picture = _decoded_somehow(vae, latents, notes)
    if not picture.isfinite().all():
        raise NotANumberError(
            f"{who}: the decoded picture is not finite (NaN or infinity), in fp32 too.",
            valid="less guidance, another sampler, or an undamaged decoder",
        )
    return picture[0]


def _decoded_somehow(vae: Any, latents: Tensor, notes: list[str]) -> Tensor:
    scale = latent_scale(vae)
    height, width = latents.shape[-2:]
    edge = tile_edge(vae, width * scale, height * scale)
    if edge is not None:
        notes.append(f"little free memory: decoded in tiles of {edge * scale} px")
    picture = attempt(lambda: decode(vae, latents, edge))
    while picture is None:
        if edge is not None and edge <= SMALLEST:
            raise OutOfMemoryError(
                "Memory does not suffice to decode a picture of this size, even in tiles.",
                valid="a smaller width or height, or another device",
            )
        edge = max(SMALLEST, (edge or max(height, width)) // 2)
        notes.append(f"out of memory: decoded in tiles of {edge * scale} px")
        picture = attempt(partial(decode, vae, latents, edge))
    return picture


@contextmanager
def in_fp32(model: Any) -> Iterator[None]:
    """Computes in fp32 within, in the model's own precision again afterwards."""
    dtype = model.dtype
    model.float()
    try:
        yield
    finally:
        model.to(dtype)
