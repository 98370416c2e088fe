"""Which form a prompt file has, and its rows in that form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Literal, TypeAlias, get_args

from studio.batch import tables, text_form
from studio.batch.entries import Entry
from studio.pipelines.request import Request

Form: TypeAlias = Literal["auto", "text", "csv", "jsonl"]

FORMS: tuple[str, ...] = get_args(Form)
"""The names of the forms; ``auto`` finds out which it is."""

_ENDINGS = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_READERS: dict[str, Callable[[Iterable[str]], Iterator[Entry]]] = {
    "text": text_form.entries,
    "csv": tables.csv_entries,
    "jsonl": tables.jsonl_entries,
}


def parse_form(lines: Sequence[str], form: Form, name: str) -> tuple[str, Iterator[Entry]]:
    """The form that was found, and the rows.

    Args:
        lines: of the whole file.
        form: as asked for.
        name: of the file; its ending decides what ``auto`` is. Empty where there is none.
    """
    found = form if form != "auto" else _ENDINGS.get(PurePath(name).suffix.lower()) or _by(lines)
    return found, _READERS[found](lines)


def _by(lines: Iterable[str]) -> str:
    """The form by the first line that says something."""
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("{") and _is_object(first):
        return "jsonl"
    names = [name.strip() for name in first.split(tables.delimiter(first))]
    known = [name for name in names if name in Request.model_fields]
    return "csv" if "prompt" in names and len(known) * 2 > len(names) else "text"


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        # Half an object is no prompt either.
        return line.startswith(('{"prompt"', '{ "prompt"'))
