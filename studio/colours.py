"""Colours by name, and which of them a picture stands on."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "black": (20, 20, 22),
    "gray": (150, 150, 152),
    "red": (220, 40, 45),
    "orange": (250, 150, 40),
    "yellow": (255, 222, 60),
    "green": (70, 175, 80),
    "blue": (50, 110, 230),
    "light blue": (165, 215, 250),
    "purple": (140, 80, 200),
    "pink": (250, 165, 200),
    "brown": (130, 85, 55),
}
"""Red, green and blue of each, 0 to 255."""
_ALIKE = 0.25
"""How far, in the cone, colours are apart that are still one background."""
_MOST = 0.6
"""Share of the border that one background takes up."""
_ROWS = 128
"""About how many rows of a picture are looked at: its border is as plain in a few."""


def on_background(thing: str, colour: str) -> str:
    """``a fox`` -> ``a fox on a blue background``."""
    article = "an" if colour[0] in "aeiou" else "a"
    return f"{thing} on {article} {colour} background"


def border_colour(picture: Image.Image, names: Iterable[str] = tuple(COLOURS)) -> str:
    """The named colour nearest to the median of a picture's upper and lower border."""
    median = _cone(np.median(_border(picture), axis=0))
    return min(names, key=lambda name: float(np.abs(median - _cone(np.array(COLOURS[name]))).sum()))


def plain_background(picture: Image.Image) -> bool:
    """Whether most of a picture's upper and lower border is of one colour."""
    border = _border(picture)
    apart = np.abs(_cone(border) - _cone(np.median(border, axis=0))).sum(-1)
    return bool((apart < _ALIKE).mean() > _MOST)


def _border(picture: Image.Image) -> npt.NDArray[np.float64]:
    """The pixels of a 32nd of the picture at the top and at the bottom: [N, 3]."""
    step = max(1, picture.height // _ROWS)
    pixels = np.asarray(picture.convert("RGB"))[::step, ::step].astype(float)
    edge = max(1, len(pixels) // 32)
    return np.concatenate([pixels[:edge], pixels[-edge:]]).reshape(-1, 3)


def _cone(rgb: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """HSV as a cone, of colours [..., 3]: hues matter where there is colour."""
    h, s, v = np.apply_along_axis(lambda c: np.array(colorsys.rgb_to_hsv(*c)), -1, rgb / 255).T
    return np.stack([s * v * np.cos(2 * np.pi * h), s * v * np.sin(2 * np.pi * h), v], -1)
