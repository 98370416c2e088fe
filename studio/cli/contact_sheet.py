"""One labelled sheet of many pictures."""

from __future__ import annotations

import io
import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from studio.files import write_new

MAX_SIDE = 8192
"""Longest side of a sheet in pixels; larger ones shrink their pictures to fit."""

_GAP = 8
_PAPER, _INK = (250, 250, 250), (40, 40, 40)


class ContactSheet:
    """Takes pictures one by one and sets them in rows, each with its label below.

    Only the sheet itself is kept in memory, however many pictures come.

    Args:
        count: pictures to come, at least 1.
        size: width and height of a picture in pixels.
    """

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        self._columns = math.ceil(math.sqrt(count))
        rows = math.ceil(count / self._columns)
        room = MAX_SIDE / max(self._columns, rows) - _GAP
        label = max(12, min(int(min(size[0], room) / 10), 24))
        scale = min(1.0, room / size[0], (room - label - _GAP) / size[1])
        self._picture = (max(1, int(size[0] * scale)), max(1, int(size[1] * scale)))
        self._cell = (self._picture[0] + _GAP, self._picture[1] + label + 2 * _GAP)
        self._font = ImageFont.load_default(label)
        self._taken = 0
        canvas = (self._columns * self._cell[0] + _GAP, rows * self._cell[1] + _GAP)
        self.image = Image.new("RGB", canvas, _PAPER)

    def add(self, picture: Image.Image, label: str) -> None:
        """Sets the next picture on the sheet."""
        row, column = divmod(self._taken, self._columns)
        left, top = _GAP + column * self._cell[0], _GAP + row * self._cell[1]
        if picture.size != self._picture:
            picture = picture.resize(self._picture, Image.Resampling.LANCZOS)
        self.image.paste(picture, (left, top))
        below = (left, top + self._picture[1] + _GAP // 2)
        ImageDraw.Draw(self.image).text(below, label, fill=_INK, font=self._font)
        self._taken += 1

    def save(self, folder: Path, stem: str) -> Path:
        """Writes the sheet as PNG under a free name; see :func:`studio.files.write_new`."""
        buffer = io.BytesIO()
        self.image.save(buffer, "PNG")
        return write_new(folder, stem, ".png", buffer.getvalue())
