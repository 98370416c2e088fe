"""Programs that see what a picture shows: hues, sizes, counts, halves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

from studio.training.rendering import mean_hue
from studio.training.scenes import HUES

SPECK = 0.015
"""Share of the picture up to which a part is a speck."""


def parts(picture: Image.Image) -> int:
    """How many parts stand apart on white, specks left out."""
    shown, _, sizes = _components(picture)
    return int((sizes > SPECK * shown.size).sum())


def extent(picture: Image.Image) -> float:
    """Larger side of what is drawn on white, specks left out, as a share of the picture's."""
    shown, labels, sizes = _components(picture)
    things = ndimage.find_objects(labels)
    boxes = [box for box, size in zip(things, sizes, strict=True) if size > SPECK * shown.size]
    if not boxes:
        return 0.0
    rows, columns = zip(*boxes, strict=True)
    extents = [
        (max(s.stop for s in line) - min(s.start for s in line)) / side
        for line, side in zip((rows, columns), shown.shape, strict=True)
    ]
    return float(max(extents))


def nearest_hue(picture: Image.Image, hues: Sequence[str]) -> int:
    """Place of the named hue nearest to the mean hue of what is drawn."""
    share, mean_point = mean_hue(np.asarray(picture.convert("RGB")).reshape(-1, 3))
    if not share:
        return -1
    mean = np.degrees(np.angle(mean_point))
    return int(np.argmin([abs((mean - HUES[hue][1] + 180) % 360 - 180) for hue in hues]))


def on_cells(picture: Image.Image, cells: int) -> bool:
    """Whether colours change on the borders of a grid of cells x cells, as in pixel art.

    Twice as much of the change lies there as if it lay anywhere.
    """
    pixels = np.asarray(picture.convert("RGB"), float)
    size = len(pixels) // cells
    changes = [np.abs(np.diff(pixels, axis=axis)).sum((1 - axis, 2)) for axis in (0, 1)]
    on_borders = sum(change[size - 1 :: size].sum() for change in changes)
    return bool(on_borders > 2 / size * sum(change.sum() for change in changes))


def nearest_drawing(picture: Image.Image, drawings: Sequence[Image.Image]) -> int:
    """Place of the drawing whose pixels are nearest, at 32 pixels a side, mirrored or not."""
    seen = _small(picture)
    return int(np.argmin([
        min(np.square(seen - one).mean(), np.square(seen[:, ::-1] - one).mean())
        for one in map(_small, drawings)
    ]))  # fmt: skip


def _small(picture: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(picture.convert("RGB").resize((32, 32), Image.Resampling.BOX), float)


def half(picture: Image.Image, side: int) -> Image.Image:
    """The left (0) or right (1) half on a white square."""
    width, height = picture.size
    square = Image.new("RGB", (height, height), "white")
    part = picture.crop((side * width // 2, 0, (side + 1) * width // 2, height))
    square.paste(part, ((height - part.width) // 2, 0))
    # As large as a single drawing would stand.
    edge = height // 4
    return square.crop((edge, edge, height - edge, height - edge))


def _components(
    picture: Image.Image,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """What is not white [H, W], its connected parts [H, W] from 1 on, and their areas."""
    shown = np.asarray(picture.convert("L")) < 235
    closed = ndimage.binary_closing(shown, iterations=2)
    labels, found = ndimage.label(closed)
    return shown, labels, np.asarray(ndimage.sum_labels(closed, labels, range(1, found + 1)))
