"""From bytes to lines of text, or to what is wrong with the bytes."""

from __future__ import annotations

import codecs
import re
import sys
from bisect import bisect_right
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from studio.batch.problems import Problem

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BREAK = re.compile(r"\r\n|\r|\n")  # other breaks, such as U+2028, belong to the prompt
_MOST = 100  # broken bytes after which a file is no text
_VALID = "text in UTF-8, or in UTF-16 with a byte order mark"


@dataclass(frozen=True)
class Document:
    """A file as text.

    Args:
        lines: without their ends.
        problems: of bytes that are no text, in order; they stand as U+FFFD in the lines.
    """

    lines: tuple[str, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Piece:
    """Text that was decoded in one go, and where it begins in text and file."""

    text: str
    start: int
    byte: int


def read_bytes(source: Path | Literal["-"]) -> bytes:
    """The content of a file, or of standard input.

    Raises:
        OSError: it cannot be read.
    """
    return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()


def decode(data: bytes) -> Document:
    """Text of UTF-8 with or without byte order mark, or of UTF-16 with one. Never raises."""
    mark, codec = next((row for row in _MARKS if data.startswith(row[0])), (b"", "utf-8"))
    pieces, broken, complete = _pieces(memoryview(data), len(mark), codec)
    text = "".join(piece.text for piece in pieces)
    starts = [0, *(found.end() for found in _BREAK.finditer(text))]

    def problem(index: int, byte: int, what: str) -> Problem:
        line = bisect_right(starts, index)
        column = index - starts[line - 1] + 1
        return Problem(line, column, "", f"{what} at byte {byte} of the file", _VALID)

    problems = [
        problem(index, byte, f"no {codec.upper()[:6].rstrip('-')} text: {_hex(data, byte)}")
        for index, byte in broken
    ]
    for found in islice(re.finditer("\0", text), _MOST):
        piece = pieces[bisect_right([piece.start for piece in pieces], found.start()) - 1]
        before = text[piece.start : found.start()]
        byte = piece.byte + len(before.encode(codec, "surrogatepass"))
        one = problem(found.start(), byte, "a NUL character")
        if not problems or problems[-1].line != one.line:  # one a line says it
            problems.append(one)
    if not complete:
        reason = f"more than {_MOST} bytes are no text; the rest was not read"
        problems.append(Problem(bisect_right(starts, len(text)), 0, "", reason, _VALID))
    lines = _BREAK.split(text)
    if not lines[-1]:
        lines.pop()
    return Document(tuple(lines), tuple(sorted(problems, key=lambda p: (p.line, p.column))))


def _pieces(
    data: memoryview, byte: int, codec: str
) -> tuple[list[_Piece], list[tuple[int, int]], bool]:
    """Decoded pieces, (index in the text, byte) of what could not be, and whether that is all."""
    pieces: list[_Piece] = []
    broken: list[tuple[int, int]] = []
    start = 0
    while True:
        try:
            pieces.append(_Piece(codecs.decode(data[byte:], codec), start, byte))
            return pieces, broken, True
        except UnicodeDecodeError as error:
            text = codecs.decode(data[byte : byte + error.start], codec) + "\ufffd"
            pieces.append(_Piece(text, start, byte))
            start += len(text)
            broken.append((start - 1, byte + error.start))
            byte += error.end
            if len(broken) > _MOST:
                return pieces, broken[:-1], False


def _hex(data: bytes, byte: int) -> str:
    return f"0x{data[byte]:02x}"
