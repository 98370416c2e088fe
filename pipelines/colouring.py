"""Colours from one picture, light and shade from another."""

from __future__ import annotations

import numpy as np
from PIL import Image

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as in JPEG and Pillow's "L"


def coloured(original: Image.Image, colours: Image.Image) -> Image.Image:
    """The luma of ``original`` with the hues of ``colours``, both RGB of one size.

    A pixel's chroma (its distance from grey, whose luma is 0) is added to the grey of the
    original's luma. Where that leaves the gamut, the chroma shrinks towards grey; clipping would
    change luma and hue. The luma changes by rounding alone, less than 0.5 of 255 in every pixel.
    """
    luma = np.asarray(original, np.float32) @ _LUMA
    chroma = np.asarray(colours, np.float32)
    chroma = chroma - (chroma @ _LUMA)[..., None]
    grey = luma[..., None]
    room = np.where(chroma > 0, 255 - grey, grey)  # to the gamut's face in this direction
    reach = np.divide(room, np.abs(chroma), out=np.ones_like(chroma), where=chroma != 0)
    scale = np.minimum(1, reach.min(axis=-1, keepdims=True))
    levels = np.clip(np.rint(grey + scale * chroma), 0, 255).astype(np.uint8)
    return Image.fromarray(levels)
