"""Tables of requests: CSV with a header, and JSONL. One job a row, keys = the request's fields.

A key that begins with ``#`` is a remark. An empty cell, or ``null``, leaves its field open.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from studio.batch.entries import Cell, Entry, from_text
from studio.batch.problems import Problem, shown
from studio.pipelines.request import Request

REMARK = "#"
_DELIMITERS = ",;\t"
_ROOM = " \t\r\n"
_Places: TypeAlias = list[tuple[int, int]]  # line and column, from 1


# ---- CSV


def delimiter(header: str) -> str:
    """What parts the cells of a table with this header: a comma, semicolon or tab."""
    return max(_DELIMITERS, key=header.count)


def csv_entries(lines: Iterable[str]) -> Iterator[Entry]:
    """The rows of a CSV table (RFC 4180; comma, semicolon or tab as its header has it)."""
    rows = list(lines)
    first = next((index for index, line in enumerate(rows) if line.strip()), len(rows))
    mark = delimiter(rows[first]) if first < len(rows) else ","
    taken = first  # lines that the reader has consumed

    def feed() -> Iterator[str]:
        nonlocal taken
        for line in rows[first:]:
            taken += 1
            yield line + "\n"

    reader = csv.reader(feed(), delimiter=mark, strict=True)
    names: list[str] | None = None
    heads: _Places = []
    while True:
        start = taken
        try:
            values = next(reader, None)
        except csv.Error as error:
            text = "\n".join(rows[start:taken])
            problem = Problem(
                start + 1, 0, "", f"not CSV: {error}", 'quotes in a cell doubled: "say ""cat"""'
            )
            yield Entry(start + 1, text, problems=(problem,))
            if names is None:
                return
            continue
        if values is None:
            return
        text = "\n".join(rows[start:taken])
        if not any(values):  # blank, or as spreadsheets write it: ,,,
            continue
        if names is None:
            names = [name.strip() for name in values]
            heads = _places(start + 1, text, mark, len(names))
            yield from _header(start + 1, text, names, heads)
            continue
        yield _row(start + 1, text, mark, names, values, heads)


def _header(line: int, text: str, names: list[str], heads: _Places) -> Iterator[Entry]:
    """Names that stand twice, as a row of its own."""
    for index, name in enumerate(names):
        if name in names[:index]:
            reason = "the header names it twice"
            yield Entry(line, text, problems=(Problem(*heads[index], name, reason, "one column"),))


def _row(
    line: int, text: str, mark: str, names: list[str], values: list[str], heads: _Places
) -> Entry:
    places = _places(line, text, mark, len(values))
    if len(values) != len(names):
        at, column = places[min(len(names), len(values) - 1)]
        reason = f"{len(values)} cells under a header of {len(names)}"
        problem = Problem(at, column, "", reason, f"{len(names)} cells, empty ones too")
        return Entry(line, text, problems=(problem,))
    cells = {}
    for name, value, place, head in zip(names, values, places, heads, strict=True):
        if name.startswith(REMARK):
            continue
        if name not in Request.model_fields:  # is told once, where the header has it
            cells[name] = Cell(value, *head)
        elif value:
            cells[name] = Cell(from_text(name, value), *place)
    return Entry(line, text, cells)


def _places(line: int, text: str, mark: str, count: int) -> _Places:
    """Where each cell of a row begins."""
    cell = re.compile(rf'("(?:[^"]|"")*"|[^{mark}]*)(?:{mark}|\Z)')
    places = []
    position = 0
    for _ in range(count):
        before = text[:position]
        places.append((line + before.count("\n"), position - before.rfind("\n")))
        found = cell.match(text, position)
        position = found.end() if found else len(text)
    return places


# ---- JSONL


def jsonl_entries(lines: Iterable[str]) -> Iterator[Entry]:
    """The rows of a JSONL file: one JSON object a line."""
    for number, text in enumerate(lines, start=1):
        if text.strip():
            yield _object(number, text)


class _Unreadable(Exception):  # noqa: N818 (never leaves this module)
    def __init__(self, column: int, reason: str) -> None:
        self.column = column
        self.reason = reason


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _object(number: int, text: str) -> Entry:
    cells: dict[str, Cell] = {}
    problems = []
    try:
        for name, value, column in _members(text):
            if name in cells:
                reason = "the key stands twice in one object"
                problems.append(Problem(number, column, name, reason, "each key once"))
            elif not name.startswith(REMARK):
                cells[name] = Cell(value, number, column)
    except _Unreadable as error:
        valid = 'one whole object a line: {"prompt": "a cat", "seed": 1}'
        problems.append(Problem(number, error.column, "", f"not JSON: {error.reason}", valid))
    given = {name: cell for name, cell in cells.items() if cell.value is not None}
    return Entry(number, text, given, tuple(problems))


def _members(text: str) -> Iterator[tuple[str, object, int]]:
    """Key, value and column of the value of each member of the object in ``text``."""
    position = _expect(text, 0, "{")
    if text[_skip(text, position) :][:1] == "}":
        position = _expect(text, position, "}")
    else:
        while True:
            name, position = _value(text, position)
            if not isinstance(name, str):
                raise _Unreadable(position, f"the key {shown(name)} is no text")
            position = _skip(text, _expect(text, position, ":"))
            value, end = _value(text, position)
            yield name, value, position + 1
            position = _skip(text, end)
            if text[position : position + 1] != ",":
                position = _expect(text, position, "}")
                break
            position += 1
    position = _skip(text, position)
    if position < len(text):
        raise _Unreadable(position + 1, "something follows the object")


def _value(text: str, position: int) -> tuple[object, int]:
    position = _skip(text, position)
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise _Unreadable(error.pos + 1, _lower(error.msg)) from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else _lower(str(error))
        raise _Unreadable(position + 1, reason) from None


def _expect(text: str, position: int, mark: str) -> int:
    position = _skip(text, position)
    if text[position : position + 1] != mark:
        found = repr(text[position]) if position < len(text) else "the end of the line"
        raise _Unreadable(position + 1, f"{found} where {mark!r} belongs")
    return position + 1


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _ROOM:
        position += 1
    return position


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
