"""Paint silhouettes in several ways, so that they look like drawings in ever other styles."""

from __future__ import annotations

import colorsys
from collections import defaultdict
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

from studio.training.dataset import Drawings
from studio.training.scenes import COLOUR_WORD, Rng
from studio.training.wording import one_of

Pixels = npt.NDArray[np.uint8]
SILHOUETTE = "silhouette"
"""The style of painted silhouettes; no word of a caption names it."""
WAYS = 4
_OWN = 0.7  # share that is painted in the colours of a drawing of the same thing
_COLOURS = 5
_INK = (20, 20, 25)


def smaller(drawings: Drawings, side: int) -> Drawings:
    """The drawings at ``side`` pixels a side."""
    if drawings.pixels.shape[1] == side:
        return drawings
    pixels = [
        Image.fromarray(picture).convert("RGBa").resize((side, side), Image.Resampling.BOX)
        for picture in drawings.pixels
    ]
    return replace(drawings, pixels=np.stack([np.asarray(one.convert("RGBA")) for one in pixels]))


def with_silhouettes(drawings: Drawings, rng: Rng) -> Drawings:
    """The drawings, and every silhouette painted in ``WAYS`` ways as rows of a style of its own."""
    if drawings.silhouettes is None:
        return drawings
    side = drawings.pixels.shape[1]
    shown = defaultdict(list)
    for n, row in enumerate(drawings.rows):
        if not row.heldout:
            shown[row.concept].append(n)
    rows, pixels = list(drawings.rows), [drawings.pixels]
    pairs = zip(drawings.silhouettes.concepts, drawings.silhouettes.alphas, strict=True)
    for number, (concept, alpha) in enumerate(pairs):
        cover = np.asarray(Image.fromarray(alpha).resize((side, side), Image.Resampling.BOX))
        for way in range(WAYS if shown[concept] else 0):
            like = one_of(rng, shown[concept])
            row = drawings.rows[like]
            own = rng.random() < _OWN or COLOUR_WORD.search(row.label["en"])
            colours = palette(drawings.pixels[like]) if own else any_colours(rng)
            pixels.append(painted(cover, rng.permutation(colours), way, rng)[None])
            name = f"{SILHOUETTE}-{number}-{way}"
            rows.append(replace(row, id=name, style=SILHOUETTE, style_words=(), hue=None))
    return replace(drawings, rows=tuple(rows), pixels=np.concatenate(pixels))


def painted(cover: Pixels, colours: Pixels, way: int, rng: Rng) -> Pixels:
    """A silhouette in colours: uint8 [S, S, 4].

    Way 0 gives all of it one colour. The others fill what its lines enclose: way 1 all alike, the
    rest every part for itself; the lines are of ink or of the first colour.

    Args:
        cover: how much it covers, uint8 [S, S].
        colours: uint8 [N, 3].
    """
    alpha = cover[..., None] / 255
    line = colours[0].astype(float)
    if way == 0:
        return _straight(np.broadcast_to(line, (*cover.shape, 3)), alpha)
    if rng.random() < 0.5:
        line = np.asarray(_INK, float)
    solid = np.pad(cover >= 100, 3)
    whole = ndimage.binary_fill_holes(ndimage.binary_closing(solid))[3:-3, 3:-3] | (cover >= 100)
    parts, count = ndimage.label(whole & (cover < 128))
    if not count:
        return _straight(np.broadcast_to(line, (*cover.shape, 3)), alpha)
    chosen = rng.integers(len(colours), size=count) if way > 1 else np.ones(count, int)
    # Under the lines lies the colour of the nearest part, so that their soft edges have no halo.
    nearest = ndimage.distance_transform_edt(
        parts == 0, return_distances=False, return_indices=True
    )
    filling = colours[chosen % len(colours)][parts[tuple(nearest)] - 1]
    return _straight(alpha * line + (1 - alpha) * filling, np.maximum(alpha, whole[..., None]))


def palette(picture: Pixels) -> Pixels:
    """The most used colours of a drawing [S, S, 4], at most five: uint8 [N, 3]."""
    opaque = picture[picture[..., 3] >= 200][:, :3]
    if not len(opaque):
        return np.array([_INK], np.uint8)
    few = Image.fromarray(opaque[None]).quantize(_COLOURS)
    colours = np.asarray(few.getpalette(), np.uint8).reshape(-1, 3)
    used: Pixels = colours[np.unique(np.asarray(few))]
    return used


def any_colours(rng: Rng) -> Pixels:
    """Five colours at random, none pale or dark: uint8 [5, 3]."""
    hsv = rng.uniform((0, 0.3, 0.4), 1, (_COLOURS, 3)).tolist()
    return np.rint([[255 * c for c in colorsys.hsv_to_rgb(*one)] for one in hsv]).astype(np.uint8)


def _straight(colour: npt.NDArray[np.float64], alpha: npt.NDArray[np.float64]) -> Pixels:
    pixels: Pixels = np.rint(np.concatenate([colour, alpha * 255], -1)).astype(np.uint8)
    return pixels
