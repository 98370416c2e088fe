"""Preprocessors: from a picture to the lines, white on black, that ControlNets follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

_LOW, _HIGH = 100, 200  # of Canny's gradients; what the published ControlNets were trained with
_NARROW, _WIDE, _CONTRAST = 0.5, 5.0, 16.0  # of scribbles: blurs in pixels, levels of 255
_SQUARE = np.ones((3, 3), bool)

Levels = NDArray[Any]


def canny(levels: Levels) -> Levels:
    """Edges a pixel wide (Canny 1986), bit for bit those of OpenCV's ``Canny(picture, 100, 200)``.

    Args:
        levels: [H, W, 3], uint8.

    Returns:
        [H, W], uint8, 255 on edges.
    """
    colours = levels.astype(np.int32)
    across, along = (
        np.stack([_sobel(colours[..., c], axis) for c in range(colours.shape[-1])])
        for axis in (1, 0)
    )
    strongest = np.argmax(np.abs(across) + np.abs(along), axis=0)[None]
    dx = np.take_along_axis(across, strongest, axis=0)[0]
    dy = np.take_along_axis(along, strongest, axis=0)[0]
    ridge = _ridge(dx, dy)
    strength = np.abs(dx) + np.abs(dy)
    weak = ridge & (strength > _LOW)
    islands, count = ndimage.label(weak, _SQUARE)
    strong = np.zeros(count + 1, bool)
    strong[np.unique(islands[weak & (strength > _HIGH)])] = True
    return np.asarray(strong[islands] & weak, np.uint8) * 255


def _sobel(channel: Levels, axis: int) -> Levels:
    smooth = ndimage.correlate1d(channel, [1, 2, 1], axis=1 - axis, mode="nearest")
    return np.asarray(ndimage.correlate1d(smooth, [-1, 0, 1], axis=axis, mode="nearest"))


def _ridge(dx: Levels, dy: Levels) -> Levels:
    """Where the gradient is largest along its own direction, which is rounded to eighths."""
    strength = np.pad(np.abs(dx) + np.abs(dy), 1)
    height, width = dx.shape

    def beside(down: int, right: int) -> Levels:
        return strength[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    here = beside(0, 0)
    x, y = np.abs(dx).astype(np.int64), np.abs(dy).astype(np.int64) << 15
    flat = x * 13573  # tan(22.5 degrees) of 2**15, and below that of 67.5 degrees
    level, upright = y < flat, y > flat + (x << 16)
    same = (dx < 0) == (dy < 0)
    after = np.where(same, beside(1, 1), beside(1, -1))
    before = np.where(same, beside(-1, -1), beside(-1, 1))
    sloping = (here > before) & (here > after)
    across = (here > beside(0, -1)) & (here >= beside(0, 1))
    along = (here > beside(-1, 0)) & (here >= beside(1, 0))
    return np.asarray(np.where(level, across, np.where(upright, along, sloping)))


def scribble(levels: Levels) -> Levels:
    """Strokes and outlines, darker in some colour than what is around: a difference of Gaussians
    (Marr and Hildreth 1980), cut off.

    Args:
        levels: [H, W, 3], uint8; a photograph, or a drawing on something light.

    Returns:
        [H, W], uint8, 255 on strokes.
    """
    wide, narrow = (
        ndimage.gaussian_filter(levels.astype(np.float32), (sigma, sigma, 0))
        for sigma in (_WIDE, _NARROW)
    )
    return np.asarray((wide - narrow).max(axis=2) > _CONTRAST, np.uint8) * 255


def invert(levels: Levels) -> Levels:
    """Black on white as white on black."""
    return 255 - levels


PREPROCESSORS: dict[str, Callable[[Levels], Levels]] = {
    "canny": canny,
    "scribble": scribble,
    "invert": invert,
}
"""What finds the lines, by the name that a request has for it."""


def prepared(picture: Image.Image, preprocessor: str) -> Image.Image:
    """The control image that a ControlNet is shown.

    Args:
        picture: RGB.
        preprocessor: a key of :data:`PREPROCESSORS`, or "none".

    Returns:
        RGB of the same size.
    """
    if preprocessor == "none":
        return picture
    lines = PREPROCESSORS[preprocessor](np.asarray(picture))
    return Image.fromarray(lines).convert("RGB")
