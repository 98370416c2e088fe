"""One row of a prompt file as it stands there: fields by name, not checked yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from studio.batch.problems import Problem
from studio.pipelines.request import Request

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Cell:
    """One value of a row.

    Args:
        value: of the field's type where the form has types (JSON), else text that was read by
            :func:`from_text`.
        line: 1-based line of the file where it stands.
        column: 1-based character of that line.
    """

    value: object
    line: int
    column: int


@dataclass(frozen=True)
class Entry:
    """One row.

    Args:
        line: its first line, from 1.
        text: the row as it stands in the file.
        cells: its values by the name of the request's field.
        problems: what the form itself found wrong; the cells may then be incomplete.
        warnings: what the form passes over.
    """

    line: int
    text: str
    cells: Mapping[str, Cell] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def from_text(name: str, text: str) -> object:
    """A value typed as text, in the type of the request's field ``name``.

    What cannot be read stays text, which the request then refuses by name.
    """
    form = kind(name)
    try:
        if form == "integer":
            return int(text)
        if form == "number":
            return float(text)
    except ValueError:
        return text
    if form == "boolean":
        return _BOOLEANS.get(text.strip().lower(), text)
    return text


def kind(name: str) -> str:
    """The JSON type of a request's field; ``string`` for what is none."""
    return _kinds().get(name, "string")


@cache
def _kinds() -> dict[str, str]:
    properties: dict[str, dict[str, Any]] = Request.model_json_schema()["properties"]
    kinds = {}
    for name, schema in properties.items():
        options = schema.get("anyOf", [schema])
        kinds[name] = next(str(option["type"]) for option in options if option["type"] != "null")
    return kinds
