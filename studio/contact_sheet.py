"""One labelled sheet of many pictures."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from studio.files import write_new

MAX_SIDE = 8192
"""Longest side of a sheet in pixels; larger ones shrink their pictures to fit."""

_GAP = 8
_PAPER, _INK = (250, 250, 250), (40, 40, 40)
_WIDEST_SIDE = 20  # characters of a label at the side, in one line


class ContactSheet:
    """Takes pictures one by one and sets them in rows, each with its label below.

    Only the sheet itself is kept in memory, however many pictures come.

    Args:
        count: pictures to come, at least 1.
        size: width and height of a picture in pixels; others are fitted into it.
        lines: that a label may take; what is longer is cut.
        heads: labels of the columns, which there are then as many of; for tables.
        sides: labels of the rows.
    """

    def __init__(
        self,
        count: int,
        size: tuple[int, int],
        *,
        lines: int = 1,
        heads: Sequence[str] = (),
        sides: Sequence[str] = (),
    ) -> None:
        self._columns = len(heads) or math.ceil(math.sqrt(count))
        self._lines = lines
        rows = math.ceil(count / self._columns)
        room = MAX_SIDE / (max(self._columns, rows) + bool(heads or sides)) - _GAP
        self._line = max(12, min(int(min(size[0], room) / 10), 24))
        label = lines * self._line + _GAP
        scale = min(1.0, room / size[0], max(room - label, 1) / size[1])
        self._picture = (max(1, int(size[0] * scale)), max(1, int(size[1] * scale)))
        self._cell = (self._picture[0] + _GAP, self._picture[1] + label + _GAP)
        self._font = ImageFont.load_default(self._line - 2)
        wide = min(max(map(len, sides), default=0), _WIDEST_SIDE)
        self._origin = (
            _GAP + (wide * self._line * 2 // 3 if sides else 0),
            _GAP + (2 * self._line + _GAP if heads else 0),
        )
        self._taken = 0
        right, bottom = self._place(rows - 1, self._columns)[0], self._place(rows, 0)[1]
        self.image = Image.new("RGB", (right, bottom), _PAPER)
        for column, text in enumerate(heads):
            self._write((self._place(0, column)[0], _GAP), text, self._cell[0], 2)
        for row, text in enumerate(sides):
            middle = self._place(row, 0)[1] + self._picture[1] // 2 - self._line
            self._write((_GAP, middle), text, self._origin[0] - _GAP, 2)

    def add(self, picture: Image.Image | None, label: str = "") -> None:
        """Sets the next picture on the sheet; None leaves its place empty."""
        left, top = self._place(*divmod(self._taken, self._columns))
        if picture is not None:
            if picture.size != self._picture:
                picture = _fitted(picture, self._picture)
            inset = [
                (room - taken) // 2 for room, taken in zip(self._picture, picture.size, strict=True)
            ]
            self.image.paste(picture, (left + inset[0], top + inset[1]))
        below = (left, top + self._picture[1] + _GAP // 2)
        self._write(below, label, self._picture[0], self._lines)
        self._taken += 1

    def png(self) -> bytes:
        """The sheet as a PNG file."""
        buffer = io.BytesIO()
        self.image.save(buffer, "PNG")
        return buffer.getvalue()

    def save(self, folder: Path, stem: str) -> Path:
        """Writes the sheet as PNG under a free name; see :func:`studio.files.write_new`."""
        return write_new(folder, stem, ".png", self.png())

    def _place(self, row: int, column: int) -> tuple[int, int]:
        return self._origin[0] + column * self._cell[0], self._origin[1] + row * self._cell[1]

    def _write(self, at: tuple[int, int], text: str, width: int, lines: int) -> None:
        letters = max(4, width * 2 // self._line)
        wrapped = textwrap.wrap(text, letters, max_lines=lines, placeholder="...")
        pen = ImageDraw.Draw(self.image)
        for number, line in enumerate(wrapped):
            pen.text((at[0], at[1] + number * self._line), line, fill=_INK, font=self._font)


def _fitted(picture: Image.Image, room: tuple[int, int]) -> Image.Image:
    scale = min(room[0] / picture.width, room[1] / picture.height)
    size = (max(1, int(picture.width * scale)), max(1, int(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)
