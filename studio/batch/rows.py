"""Reads a prompt file: what each of its rows asks for, or everything that is wrong with it.

>>> sheet = read(Path("prompts.txt"))
>>> for problem in sheet.problems:
...     print(problem)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from studio.batch.axes import read_axes
from studio.batch.checking import Checker
from studio.batch.entries import Cell, Entry
from studio.batch.expansion import Expander
from studio.batch.forms import Form, parse_form
from studio.batch.identity import open_seed
from studio.batch.problems import Problem
from studio.batch.reading import decode, read_bytes
from studio.batch.sheet import BadRow, Row, Sheet
from studio.batch.wildcards import Wildcards
from studio.inputs import HASHED, PICTURES, Inputs

__all__ = ["BadRow", "Problem", "Row", "Sheet", "read"]

_MOST_ROWS = 1_000_000


def read(
    source: Path | Literal["-"] | bytes,
    *,
    form: Form = "auto",
    wildcards: Path | None = None,
    each: Sequence[str] = (),
    choices_seed: int = 0,
    iterate_seed: bool = False,
    same_seed: bool = False,
    base: Mapping[str, object] | None = None,
    inputs: Inputs | None = None,
) -> Sheet:
    """Reads and checks a whole prompt file. Loads no weights, and raises no error over the file.

    Random choices, and the seeds of rows that leave theirs open, follow from ``choices_seed`` and
    the row's own content: the same on every run, and a line put in elsewhere changes nothing. Equal
    rows are the same picture, unless they hold choices: then each occurrence draws its own, and so
    does each picture of a row with a ``count``. The values of ``each`` change neither choices nor
    open seeds, so that their pictures compare.

    Args:
        source: a file, ``-`` for standard input, or the content itself.
        form: of the content; ``auto`` goes by the file's ending, else by the content.
        wildcards: folder of wildcard files.
        each: ``FIELD=VALUES``, all of which every row is drawn with; the last one changes fastest.
        choices_seed: 0 or more.
        iterate_seed: rows that leave their seed open go on counting from the seed in ``base``.
        same_seed: they all have that seed.
        base: fields of a request that hold where a row says nothing else.
        inputs: takes in the pictures that rows start from; their paths go from the file's folder.
    """
    fatal: list[Problem] = []
    folder = source.parent if isinstance(source, Path) else Path()
    checker = Checker(folder.absolute(), inputs or Inputs())
    axes, problems = read_axes(each)
    fatal += problems
    held = _base(base or {}, checker, fatal)
    expander = Expander(checker, Wildcards(wildcards), choices_seed, held, axes)
    if iterate_seed and same_seed:
        reason = "cannot both go on with every line and be the same for all"
        fatal.append(Problem(0, 0, "seed", reason, "one of the two switches"))
    if iterate_seed or same_seed:
        given = expander.base.get("seed", Cell(None, 0, 0)).value
        known = isinstance(given, int) and given >= 0
        expander.first_seed = int(str(given)) if known else open_seed(choices_seed, "first")
        expander.step = int(iterate_seed)
        expander.base = {name: cell for name, cell in held.items() if name != "seed"}
    if isinstance(source, bytes):
        return _read(source, "", form, expander, fatal)
    try:
        data = read_bytes(source)
    except OSError as error:
        reason = f"{source} cannot be read: {error.strerror or error}"
        fatal.append(Problem(0, 0, "", reason, "a file of prompts, or - for standard input"))
        return Sheet((), fatal=tuple(fatal), choices_seed=choices_seed)
    return _read(data, str(source), form, expander, fatal)


def _read(data: bytes, name: str, form: Form, expander: Expander, fatal: list[Problem]) -> Sheet:
    document = decode(data)
    broken = list(document.problems)
    found, entries = parse_form(document.lines, form, name)
    rows: list[Row] = []
    bad: list[BadRow] = []
    warnings: list[Problem] = []
    for entry in entries:
        lines = dict(enumerate(entry.text.split("\n"), start=entry.line))
        if broken:
            entry = _with(entry, [problem for problem in broken if problem.line in lines])
            broken = [problem for problem in broken if problem.line not in lines]
        warnings += entry.warnings
        for row in expander.rows(entry, lines):
            if isinstance(row, Row):
                rows.append(row)
            else:
                bad.append(row)
        if len(rows) > _MOST_ROWS:
            reason = f"more than {_MOST_ROWS:,} rows; the rest was not read"
            fatal.append(Problem(entry.line, 0, "", reason, "several files"))
            break
    fatal += broken
    if not (rows or bad or fatal):
        fatal.append(Problem(0, 0, "", "there are no prompts in it", "one prompt a line"))
    return Sheet(
        tuple(rows),
        tuple(bad),
        tuple(fatal),
        tuple(dict.fromkeys(warnings)),
        expander.choices_seed,
        found,
    )


def _base(base: Mapping[str, object], checker: Checker, fatal: list[Problem]) -> dict[str, Cell]:
    """The fields that hold for all rows, checked once here; what is wrong is left out."""
    cells = {name: Cell(value, 0, 0) for name, value in base.items() if value is not None}
    for name in PICTURES:
        path = base.get(name)
        if isinstance(path, str) and path and not path.startswith(HASHED) and path != "alpha":
            cells[name] = Cell(str(Path(path).absolute()), 0, 0)
    problems = checker.request({"prompt": Cell("", 0, 0), **cells}, {})[1]
    fatal += problems
    wrong = {problem.field for problem in problems}
    return {name: cell for name, cell in cells.items() if name not in wrong}


def _with(entry: Entry, problems: Sequence[Problem]) -> Entry:
    return replace(entry, problems=(*problems, *entry.problems)) if problems else entry
