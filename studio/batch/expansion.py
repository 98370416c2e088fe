"""From one row of the file to the rows that are drawn: axes, choices and seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from studio.batch.axes import Axis
from studio.batch.checking import Checker
from studio.batch.entries import Cell, Entry
from studio.batch.identity import derived, open_seed
from studio.batch.problems import Problem
from studio.batch.sheet import PROMPTS, BadRow, Row
from studio.batch.tables import REMARK
from studio.batch.templates import TemplateError, draw, has_choices, is_plain, parse
from studio.batch.wildcards import Wildcards
from studio.inputs import PICTURES
from studio.pipelines.request import SEEDS, Request

_Axes = tuple[tuple[str, str], ...]


@dataclass
class Expander:
    """Turns entries into rows, in the order of the file.

    Args:
        checker: of requests.
        wildcards: that templates draw from.
        choices_seed: of all that is drawn.
        base: fields that hold where a row says nothing else.
        axes: of the products.
        first_seed: that rows with an open seed begin from; None = each has its own.
        step: how far that goes on with each picture: 0 or 1.
    """

    checker: Checker
    wildcards: Wildcards
    choices_seed: int
    base: Mapping[str, Cell]
    axes: Sequence[Axis] = ()
    first_seed: int | None = None
    step: int = 0
    _pictures: int = 0
    _rows: int = 0
    _seen: Counter[int] = field(default_factory=Counter)

    def rows(self, entry: Entry, lines: Mapping[int, str]) -> Iterator[Row | BadRow]:
        """The rows of one entry, numbered; where all of its products are bad, one bad row."""
        if entry.problems:
            yield self._bad(entry, [*entry.problems, *self._others(entry, lines)], {})
            return
        faults = list(self._faults(entry.cells, lines))
        if any(axis.field in entry.cells for axis in self.axes):  # which hides what it replaces
            faults += self._others(entry, lines)
        one = _One(self, entry, lines, self._key(entry))
        made: list[tuple[list[Row], list[Problem], Mapping[str, Cell]]] = []
        for point in product(*(axis.values for axis in self.axes)):
            named = list(zip((axis.field for axis in self.axes), point, strict=True))
            cells = {name: cell for name, (_, cell) in named}
            texts = tuple((name, text) for name, (text, _) in named)
            made.append((*one.at(cells, texts, faults), cells))
        self._pictures += max(1, *(sum(row.request.count for row in rows) for rows, *_ in made))
        if all(problems for _, problems, _ in made):
            every = dict.fromkeys(problem for _, problems, _ in made for problem in problems)
            yield self._bad(entry, list(every), {})
            return
        for rows, problems, replaced in made:
            if problems:
                yield self._bad(entry, problems, replaced)
            for row in rows:
                self._rows += 1
                yield replace(row, index=self._rows)

    def seed(self, key: int) -> int:
        """The seed of a row that leaves it open."""
        if self.first_seed is None:
            return open_seed(self.choices_seed, key)
        return (self.first_seed + self.step * self._pictures) % SEEDS

    def _key(self, entry: Entry) -> int:
        """What tells this row from others, wherever in the file it stands."""
        content = {name: cell.value for name, cell in entry.cells.items()}
        key = derived(0, content)
        if not any(_draws(cell.value) for cell in entry.cells.values()):
            return key
        self._seen[key] += 1
        return derived(0, key, self._seen[key])

    def _bad(self, entry: Entry, problems: Sequence[Problem], more: Mapping[str, Cell]) -> BadRow:
        self._rows += 1
        fields: dict[str, object] = {f"{REMARK}row": entry.text}
        fields[f"{REMARK}problems"] = [str(problem) for problem in problems]
        if not entry.problems:  # else what could be told apart might pass for the whole row
            cells = {**entry.cells, **more}
            fields |= {name: self._kept(name, cell.value) for name, cell in cells.items()}
        return BadRow(self._rows, entry.line, entry.text, tuple(problems), fields)

    def _kept(self, name: str, value: object) -> object:
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if name in PICTURES and isinstance(value, str) and value:
            return self.checker.absolute(name, value)
        return value

    def _others(self, entry: Entry, lines: Mapping[int, str]) -> Iterator[Problem]:
        """What is wrong with those values of a broken row that could be told apart."""
        cells = {"prompt": Cell("", entry.line, 0), **self.base, **entry.cells}
        known = {(problem.line, problem.column) for problem in entry.problems}
        for problem in self.checker.request(cells, lines)[1]:
            told = (problem.line, problem.column) in known or "NUL" in problem.reason
            if not told:
                yield problem
        yield from self._faults(entry.cells, lines)

    def _faults(self, cells: Mapping[str, Cell], lines: Mapping[int, str]) -> Iterator[Problem]:
        for name in PROMPTS:
            cell = cells.get(name)
            if cell is None or not isinstance(cell.value, str) or is_plain(cell.value):
                continue
            for fault in self.wildcards.faults(cell.value):
                yield _placed(name, cell, fault, lines)


@dataclass
class _One:
    """One entry on its way to its rows."""

    expander: Expander
    entry: Entry
    lines: Mapping[int, str]
    key: int

    def at(
        self, axis_cells: Mapping[str, Cell], axes: _Axes, faults: Sequence[Problem]
    ) -> tuple[list[Row], list[Problem]]:
        """The rows at one point of the product, or all that is wrong with it."""
        checker = self.expander.checker
        cells = {**self.expander.base, **self.entry.cells, **axis_cells}
        problems = [*faults, *self.expander._faults(axis_cells, self.lines)]
        drawn = self._drawn(cells, 0, problems) if not problems else cells
        request, wrong = checker.request(drawn, self.lines)
        problems += wrong
        if request is None or problems:
            return [], problems
        request = self._seeded(request)
        requests = [request]
        if request.count > 1 and any(_draws(_text(cells, name)) for name in PROMPTS):
            requests = [
                single.model_copy(update=self._prompts(cells, i))
                for i, single in enumerate(request.singles())
            ]
        rows = []
        for single in requests:
            resolved, wrong = checker.resolved(single, drawn, self.lines)
            problems += wrong
            if resolved is not None:
                rows.append(
                    Row(
                        index=0,
                        line=self.entry.line,
                        template=_text(cells, "prompt"),
                        request=single,
                        resolved=resolved,
                        negative_template=_text(cells, "negative_prompt"),
                        axes=axes,
                        text=self.entry.text,
                    )
                )
        return ([] if problems else rows), list(dict.fromkeys(problems))

    def _seeded(self, request: Request) -> Request:
        update = {}
        if request.seed is None:
            update["seed"] = self.expander.seed(self.key)
        if request.variation_strength > 0 and request.variation_seed is None:
            update["variation_seed"] = open_seed(self.expander.choices_seed, self.key, "variation")
        return request.model_copy(update=update) if update else request

    def _drawn(
        self, cells: Mapping[str, Cell], picture: int, problems: list[Problem]
    ) -> dict[str, Cell]:
        drawn = dict(cells)
        for name in PROMPTS:
            cell = cells.get(name)
            if cell is None or not isinstance(cell.value, str) or is_plain(cell.value):
                continue
            try:
                drawn[name] = replace(cell, value=self._prompt(name, cell.value, picture))
            except TemplateError as error:
                problems.append(_placed(name, cell, error, self.lines))
        return drawn

    def _prompts(self, cells: Mapping[str, Cell], picture: int) -> dict[str, str]:
        return {name: self._prompt(name, _text(cells, name), picture) for name in PROMPTS}

    def _prompt(self, name: str, template: str, picture: int) -> str:
        """The same draw for the same row, field and picture, whatever the axes say."""
        if is_plain(template):
            return template
        seed = derived(self.expander.choices_seed, "choices", self.key, name, picture)
        return draw(template, seed, self.expander.wildcards)


def _draws(value: object) -> bool:
    if not isinstance(value, str) or is_plain(value):
        return False
    try:
        return has_choices(parse(value))
    except TemplateError:
        return False


def _text(cells: Mapping[str, Cell], name: str) -> str:
    value = cells[name].value if name in cells else ""
    return value if isinstance(value, str) else ""


def _placed(name: str, cell: Cell, fault: TemplateError, lines: Mapping[int, str]) -> Problem:
    """A template's fault where it stands in the file, as far as that can be told."""
    start = lines.get(cell.line, "").find(str(cell.value), max(cell.column - 1, 0))
    exact = start in {cell.column - 1, cell.column}
    column = start + fault.column if exact else cell.column
    return Problem(cell.line, column, name, fault.reason, fault.valid)
