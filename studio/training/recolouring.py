"""Colours of a scene: shades of a named one, drawings in another hue, pictures in large cells."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import Image

from studio.training.dataset import Drawing

CELLS, CELL_COLOURS = 16, 24
"""Of pixel art: cells a side (one to a latent of an f8 VAE at 128 pixels), and colours at most."""


def shade(rgb: tuple[int, int, int], name: str, rng: np.random.Generator) -> tuple[int, int, int]:
    """The colour with a little variation, so that the word means a range and not one value."""
    if name == "white":
        return rgb
    h, s, v = colorsys.rgb_to_hsv(*(c / 255 for c in rgb))
    grey = s < 0.1
    h += 0.0 if grey else float(rng.normal(0, 0.012))
    s = s if grey else float(np.clip(s + rng.normal(0, 0.06), 0, 1))
    v = float(np.clip(v + rng.normal(0, 0.04), 0, 1))
    r, g, b = colorsys.hsv_to_rgb(h % 1, s, v)
    return round(255 * r), round(255 * g), round(255 * b)


def recolour(picture: Image.Image, row: Drawing, hue: int) -> Image.Image:
    """Turn the whole colour circle so that the drawing's own hue becomes ``hue`` (degrees)."""
    assert row.hue is not None
    alpha = picture.getchannel("A")
    h, s, v = picture.convert("RGB").convert("HSV").split()
    turn = round((hue - row.hue) / 360 * 256) % 256
    turned = np.asarray(h).astype(np.int16) + turn
    h = Image.fromarray((turned % 256).astype(np.uint8))
    out = Image.merge("HSV", (h, s, v)).convert("RGBA")
    out.putalpha(alpha)
    return out


def pixel_art(picture: Image.Image) -> Image.Image:
    """The picture in a few large cells of few colours."""
    cells = picture.resize((CELLS, CELLS), Image.Resampling.BOX).quantize(CELL_COLOURS)
    return cells.convert("RGB").resize(picture.size, Image.Resampling.NEAREST)
