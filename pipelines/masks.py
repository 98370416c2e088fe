"""Masks: white is drawn anew, black stays."""

from __future__ import annotations

import math

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from studio.pipelines import stages
from studio.pipelines.fitting import Box, Size


def binary(mask: Image.Image) -> Image.Image:
    """L of 0 and 255 only: from the middle grey (128) on, a mask counts as white."""
    return mask.point(lambda level: 255 if level >= 128 else 0)


def resized(mask: Image.Image, size: Size) -> Image.Image:
    """A binary mask of (width, height); one that would vanish counts wherever it touches."""
    found = binary(mask.resize(size, Image.Resampling.BILINEAR))
    if found.getbbox():
        return found
    return mask.resize(size, Image.Resampling.BOX).point(lambda level: 255 if level else 0)


def feathered(mask: Image.Image, pixels: int) -> Image.Image:
    """L of a binary mask that fades outwards: 255 on the mask, 0 beyond ``pixels`` around it."""
    near, soft = math.ceil(pixels / 2), pixels // 2
    spread = stages.to_tensor(mask)
    for kernel, margin in (((1, 2 * near + 1), (0, near)), ((2 * near + 1, 1), (near, 0))):
        spread = functional.max_pool2d(spread, kernel, 1, margin)
    for kernel, margin in (((1, 2 * soft + 1), (0, soft)), ((2 * soft + 1, 1), (soft, 0))):
        spread = functional.avg_pool2d(spread, kernel, 1, margin, count_include_pad=False)
    levels = spread[0, 0].mul(255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(levels.numpy())


def latent_cells(mask: Image.Image, shape: tuple[int, int]) -> Tensor:
    """[1, 1, h, w] of 0 and 1: the latent cells that a binary mask draws anew.

    A cell follows its first pixel, as in diffusers and in the training of inpainting U-Nets. Of a
    mask so thin that it hits none of these, every cell that it touches counts.
    """
    whole = stages.to_tensor(mask)
    cells = functional.interpolate(whole, shape)
    return cells if cells.any() else functional.adaptive_max_pool2d(whole, shape)


def box_around(mask: Image.Image, padding: int, size: Size) -> Box:
    """The smallest box of the proportions ``size`` around what is not black, and ``padding`` px.

    It lies within the picture where it can; where the proportions do not allow that, it reaches
    over the edges on both sides alike.
    """
    found = mask.getbbox()
    assert found is not None, "an empty mask was refused"
    near = [max(0, edge - padding) for edge in found[:2]]
    far = [min(end, edge + padding) for end, edge in zip(mask.size, found[2:], strict=True)]
    seen = [b - a for a, b in zip(near, far, strict=True)]
    scale = max(have / wanted for have, wanted in zip(seen, size, strict=True))
    edges = [max(have, round(wanted * scale)) for have, wanted in zip(seen, size, strict=True)]
    starts = [
        _placed(a, b, edge, limit)
        for a, b, edge, limit in zip(near, far, edges, mask.size, strict=True)
    ]
    return starts[0], starts[1], starts[0] + edges[0], starts[1] + edges[1]


def _placed(near: int, far: int, edge: int, limit: int) -> int:
    """Where an interval of length ``edge`` around [near, far] starts."""
    if edge > limit:
        return (limit - edge) // 2
    return min(max(0, (near + far - edge) // 2), limit - edge)
