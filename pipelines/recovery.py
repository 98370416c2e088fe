"""What to try when memory runs out or numbers turn into NaN, before a picture is given up.

Each rung that was needed is noted, and the notes stand in the picture's metadata.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from studio.errors import NotANumberError, OutOfMemoryError
from studio.pipelines.stages import decode

T = TypeVar("T")


def attempt(run: Callable[[], T]) -> T | None:
    """``run()``, or None where memory did not suffice; what it held is free again by then."""
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _out_of_memory(error: Exception) -> bool:
    """Whether an error means that. On some devices torch says so in words only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    signs = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
    return any(sign in str(error) for sign in signs)


def halved(count: int, notes: list[str]) -> int:
    """The next smaller batch size after ``count`` images did not fit.

    Raises:
        OutOfMemoryError: it was one image already.
    """
    if count == 1:
        raise OutOfMemoryError(
            "Memory does not suffice to denoise one picture of this size.",
            valid="a smaller width or height, or another device or precision",
        )
    notes.append(f"out of memory: batch of {count} -> {count // 2}")
    return count // 2


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
    picture = attempt(lambda: decode(vae, latents))
    if picture is None:
        notes.append("out of memory: decoded in tiles")
        with _in_tiles(vae, max(latents.shape[-2:])):
            picture = attempt(lambda: decode(vae, latents))
    if picture is None:
        raise OutOfMemoryError(
            "Memory does not suffice to decode a picture of this size, even in tiles.",
            valid="a smaller width or height, or another device",
        )
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


@contextmanager
def _in_tiles(vae: Any, edge: int) -> Iterator[None]:
    """Decodes tiles of half the latents' longer ``edge`` within, blended where they overlap."""
    names = ("use_tiling", "tile_latent_min_size", "tile_sample_min_size")
    before = {name: getattr(vae, name) for name in names}
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    tile = max(8, edge // 2)
    vae.use_tiling, vae.tile_latent_min_size, vae.tile_sample_min_size = True, tile, tile * scale
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(vae, name, value)
