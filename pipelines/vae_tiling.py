"""The VAE on pictures larger than memory: whole where it fits, else in overlapping tiles.

Group norms normalise by mean and deviation of the whole picture. Taken over each tile instead, they
differ from tile to tile, and steps of several levels show. So a model goes over the tiles twice:
once to measure, and once with the mean statistics of all tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from diffusers.models.normalization import AdaGroupNorm
from torch import Tensor
from torch.nn import GroupNorm, Module

from studio.pipelines import offload
from studio.pipelines.memory import free_bytes
from studio.pipelines.seamless import is_circular
from studio.pipelines.tiling import over_tiles

SMALLEST = 8
"""Latents along the edge of the smallest tile."""

_COPIES = 8  # of the largest activation at the peak; 3 to 6 were measured (benchmarks/tiling.py)
_SHARE = 0.8  # of the free memory that is used


def latent_scale(vae: Any) -> int:
    """Pixels along one latent's edge."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def peak_bytes(vae: Any, width: int, height: int) -> int:
    """About how much memory it takes at most to decode one picture; to encode it takes less."""
    return decode_bytes(vae.config.block_out_channels, vae.dtype.itemsize, width, height)


def decode_bytes(channels: Sequence[int], itemsize: int, width: int, height: int) -> int:
    """The same by a VAE's ``block_out_channels`` and the bytes of a number."""
    widest = channels[min(1, len(channels) - 1)]  # enlarged to all pixels in the last block
    return int(_COPIES * widest * width * height * itemsize)


def tile_edge(vae: Any, width: int, height: int) -> int | None:
    """Latents along the edge of the largest tile that free memory holds; None: all of it fits.

    Other parts of the model leave for it first, where they take turns.
    """
    largest = offload.room_for(vae)
    fitting = int(_SHARE * free_bytes(vae.device) / peak_bytes(vae, 1, 1))
    fitting = min(fitting, largest**2) if largest else fitting
    if width * height <= fitting:
        return None
    edge = int(math.sqrt(fitting)) // latent_scale(vae) // SMALLEST * SMALLEST
    return max(SMALLEST, edge)


def overlap_of(edge: int) -> int:
    """Latents that neighbouring tiles share: a quarter, and enough to throw their borders away."""
    return max(edge // 4, min(8, edge // 2))


def decode(vae: Any, latents: Tensor, edge: int | None = None) -> Tensor:
    """Pictures [B, 3, H, W] of the VAE's own latents [B, C, h, w]: fp32 on the CPU.

    Args:
        vae: diffusers' AutoencoderKL; within ``seamless.circular``, the tiles wrap around as well.
        latents: as ``vae.decode`` takes them.
        edge: latents along a tile's edge, None = the whole picture at once.
    """

    def run(z: Tensor) -> Tensor:
        picture: Tensor = vae.decode(z, return_dict=False)[0]
        return picture.float().cpu()

    return run(latents) if edge is None else _tiled(vae, run, latents, edge, latent_scale(vae))


def encode(vae: Any, pictures: Tensor, edge: int | None = None) -> Any:
    """The Gaussian (diffusers' own) that the VAE sees in pictures [B, 3, H, W] in [-1, 1].

    Args:
        vae: as for :func:`decode`.
        pictures: height and width multiples of ``latent_scale``.
        edge: as for :func:`decode`.
    """
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    def run(x: Tensor) -> Tensor:
        seen: Tensor = vae.encode(x, return_dict=False)[0].parameters
        return seen

    if edge is None:
        return DiagonalGaussianDistribution(run(pictures))
    scale = latent_scale(vae)
    moments = _tiled(vae, run, pictures, edge * scale, Fraction(1, scale))
    return DiagonalGaussianDistribution(moments.to(pictures))


def _tiled(
    vae: Any, run: Callable[[Tensor], Tensor], x: Tensor, edge: int, scale: Fraction | int
) -> Tensor:
    wrap = is_circular(vae)
    latents = edge * min(scale, 1)
    overlap = edge * overlap_of(int(latents)) // int(latents)
    over = partial(over_tiles, run, x, edge=edge, overlap=overlap, scale=scale, wrap=wrap)
    slices = torch.split(x, 1)  # statistics belong to one picture
    if len(slices) > 1:
        return torch.cat([_tiled(vae, run, each, edge, scale) for each in slices])
    with shared_statistics(vae, over):
        return over()


@contextmanager
def shared_statistics(model: Module, sweep: Callable[[], object]) -> Iterator[None]:
    """Within, each group norm normalises by the mean statistics of all that ``sweep`` runs."""
    norms = [layer for layer in model.modules() if isinstance(layer, (GroupNorm, AdaGroupNorm))]
    seen: dict[Module, list[tuple[Tensor, Tensor]]] = {}

    def measure(norm: Module, inputs: tuple[Tensor, ...]) -> None:
        groups = inputs[0].float().reshape(len(inputs[0]), norm.num_groups, -1)  # type: ignore
        variance, mean = torch.var_mean(groups, dim=-1, correction=0)
        seen.setdefault(norm, []).append((mean, variance))

    handles = [norm.register_forward_pre_hook(measure) for norm in norms]
    try:
        sweep()
    finally:
        for handle in handles:
            handle.remove()
    try:
        for norm in norms:
            if norm in seen:
                means, variances = (torch.stack(part) for part in zip(*seen[norm], strict=True))
                variance = variances.mean(0) + means.var(0, correction=0)
                norm.forward = partial(_normalised, norm, means.mean(0), variance)  # type: ignore
        yield
    finally:
        for norm in norms:
            norm.__dict__.pop("forward", None)


def _normalised(
    norm: GroupNorm | AdaGroupNorm,
    mean: Tensor,
    variance: Tensor,
    x: Tensor,
    emb: Tensor | None = None,
) -> Tensor:
    """What a group norm gives for x [B, C, ...] of given statistics [B, groups].

    An adaptive one takes gain and shift from ``emb`` [B, D].
    """
    each = x.shape[1] // norm.num_groups
    if isinstance(norm, GroupNorm):
        weight, bias = norm.weight.float(), norm.bias.float()
    else:
        weight, bias = norm.linear(norm.act(emb) if norm.act else emb).float().chunk(2, dim=1)
        weight = weight + 1
    gain = (variance + norm.eps).rsqrt().repeat_interleave(each, 1) * weight
    shift = bias - mean.repeat_interleave(each, 1) * gain
    shape = (*gain.shape, *(1,) * (x.ndim - 2))
    return torch.addcmul(shift.view(shape).to(x), x, gain.view(shape).to(x))
