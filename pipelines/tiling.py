"""Large pictures piece by piece: overlapping tiles, blended where they overlap.

A tile's own border is spoilt by the padding of the convolutions. So the outer quarter of every
overlap is thrown away, and the two tiles fade into each other over the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor


def over_tiles(
    run: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    edge: int,
    overlap: int,
    scale: Fraction | int,
    wrap: bool = False,
) -> Tensor:
    """``run(x)`` made of tiles, fp32 on the CPU: [B, C', scale H, scale W].

    Args:
        run: from a tile [B, C, h, w] to [B, C', scale h, scale w].
        x: [B, C, H, W].
        edge: of a tile, at most, in elements of ``x``.
        overlap: of neighbouring tiles, at least; below ``edge``. Edge, overlap, H and W are
            multiples of the scale's denominator.
        scale: how much larger a tile comes out: 8 for most decoders, 1/8 for their encoders.
        wrap: whether left and right, top and bottom belong together, as in a seamless texture.
    """
    scale = Fraction(scale)
    around = min(overlap, *x.shape[-2:]) if wrap else 0
    if wrap:
        x = torch.nn.functional.pad(x, (around,) * 4, mode="circular")
    height, width = (int(length * scale) for length in x.shape[-2:])
    total, weights = torch.zeros(()), torch.zeros(height, width)
    for top, bottom in spans(x.shape[-2], edge, overlap, scale.denominator):
        for left, right in spans(x.shape[-1], edge, overlap, scale.denominator):
            tile = run(x[..., top:bottom, left:right]).float().cpu()
            if total.ndim == 0:
                total = torch.zeros(*tile.shape[:2], height, width)
            rows, columns = (
                slice(int(first * scale), int(last * scale))
                for first, last in ((top, bottom), (left, right))
            )
            down = _weights(tile.shape[-2], overlap * scale, top > 0, bottom < x.shape[-2])
            across = _weights(tile.shape[-1], overlap * scale, left > 0, right < x.shape[-1])
            weight = down[:, None] * across
            total[..., rows, columns] += tile * weight
            weights[rows, columns] += weight
    cut = int(around * scale)
    return (total / weights)[..., cut : height - cut, cut : width - cut]


def spans(length: int, edge: int, overlap: int, unit: int = 1) -> list[tuple[int, int]]:
    """(first, last + 1) of the fewest tiles that cover ``length``, spread evenly.

    Args:
        length: what to cover, a multiple of ``unit``.
        edge: longest tile.
        overlap: of neighbours, at least, below ``edge``.
        unit: every tile starts at a multiple of it.
    """
    if length <= edge:
        return [(0, length)]
    steps = -((edge - length) // (edge - overlap))  # rounded up
    starts = [i * (length - edge) // steps // unit * unit for i in range(steps + 1)]
    return [(start, start + edge) for start in starts]


def _weights(length: int, overlap: Fraction, before: bool, after: bool) -> Tensor:
    """1 within a tile, falling towards the sides where another tile lies before or after it."""
    margin = float(overlap / 4)
    distance = torch.arange(length) + 0.5
    rise = ((distance - margin) / max(1.0, float(overlap) - 2 * margin)).clamp(0, 1)
    weights = torch.ones(length)
    if before:
        weights = weights * rise
    if after:
        weights = weights * rise.flip(0)
    return weights
