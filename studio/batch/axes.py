"""Products: ``--each seed=1..4 --each sampler="Euler a,DPM++ 2M"`` draws every row with each."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from studio.batch.entries import Cell, from_text, kind
from studio.batch.problems import Problem, from_error, shown
from studio.errors import RequestError
from studio.pipelines.request import Request

_NUMBER = r"[+-]?[0-9]+(?:\.[0-9]+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:\.\.({_NUMBER}))?")
_MOST = 10_000  # values of one axis
_VALID = "FIELD=VALUE,VALUE,... or FIELD=FIRST..LAST or FIELD=FIRST..LAST..STEP"


@dataclass(frozen=True)
class Axis:
    """One field that runs through several values.

    Args:
        field: of the request.
        values: as typed, and read by the field's type; line 0 = of the options.
    """

    field: str
    values: tuple[tuple[str, Cell], ...]


def read_axes(options: Sequence[str]) -> tuple[tuple[Axis, ...], tuple[Problem, ...]]:
    """The axes of all ``--each`` options, and what is wrong with them."""
    axes: list[Axis] = []
    problems: list[Problem] = []
    for option in options:
        name, equals, text = option.partition("=")
        field = name.strip().replace("-", "_")
        at = len(name) + 2
        if not equals or not text.strip():
            reason = f"{shown(option)} has no values"
            problems.append(Problem(0, len(option) + 1, "", reason, _VALID))
        elif field not in Request.model_fields:
            problems.append(_unknown(field))
        elif field in {axis.field for axis in axes}:
            problems.append(Problem(0, 1, field, "named twice", "one list of its values"))
        else:
            try:
                axes.append(Axis(field, tuple(_values(field, text, at))))
            except ValueError as error:
                problems.append(Problem(0, at, field, str(error), _VALID, shown(text)))
    return tuple(axes), tuple(problems)


def _unknown(field: str) -> Problem:
    try:
        Request.of(prompt="", **{field: None})
    except RequestError as error:
        return from_error(error, 0, 1)
    raise AssertionError("the request refuses fields that it does not have")


def _values(field: str, text: str, at: int) -> list[tuple[str, Cell]]:
    try:
        row = next(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ValueError(f"not a list: {error}") from None
    values: list[tuple[str, Cell]] = []
    for part in row:
        found = _RANGE.fullmatch(part.strip())
        ranged = found is not None and kind(field) in {"integer", "number"}
        texts = _range(*found.groups()) if found and ranged else [part.strip()]
        column = at + max(text.find(part), 0)
        values += [(one, Cell(from_text(field, one), 0, column)) for one in texts]
        if len(values) > _MOST:
            raise ValueError(f"more than {_MOST:,} values")
    return values


def _range(first: str, last: str, step: str | None) -> list[str]:
    low, high = Decimal(first), Decimal(last)
    by = Decimal(step) if step else Decimal(1 if high >= low else -1)
    if by == 0 or (high - low) * by < 0:
        raise ValueError(f"a step of {by} never gets from {first} to {last}")
    count = int((high - low) / by) + 1
    if count > _MOST:
        raise ValueError(f"more than {_MOST:,} values")
    return [str(low + by * index) for index in range(count)]
