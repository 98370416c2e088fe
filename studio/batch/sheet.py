"""What a prompt file says once it has been read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.batch.problems import Problem
from studio.batch.templates import escaped
from studio.pipelines.request import Request

PROMPTS = ("prompt", "negative_prompt")
"""The fields that are templates."""


@dataclass(frozen=True)
class Row:
    """One request of the file.

    Args:
        index: 1-based number among all rows of the sheet, bad ones too.
        line: its first line in the file, from 1.
        template: the prompt as written, with its alternatives and wildcards.
        request: checked; open where the row leaves open what is the model's to say, but for the
            seed, which is set. ``count`` may be above 1.
        resolved: the same request with every field filled and pictures named by their hashes.
        negative_template: the negative prompt as written.
        axes: field and value, as typed, of each ``--each``.
        text: the row as it stands in the file.
    """

    index: int
    line: int
    template: str
    request: Request
    resolved: Request
    negative_template: str = ""
    axes: tuple[tuple[str, str], ...] = ()
    text: str = ""

    def fields(self) -> dict[str, object]:
        """What JSON can hold and, read as a row of a JSONL file, gives the same pictures again."""
        fields = self.request.model_dump(exclude_defaults=True)
        return fields | {name: escaped(fields[name]) for name in PROMPTS if name in fields}


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be drawn.

    Args:
        index: 1-based number among all rows of the sheet.
        line: its first line in the file, from 1.
        text: the row as it stands in the file.
        problems: all of them.
        fields: what JSON can hold and, read as a row of a JSONL file, is refused again: the values,
            and as remarks the row and its problems.
    """

    index: int
    line: int
    text: str
    problems: tuple[Problem, ...]
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Sheet:
    """A prompt file that has been read and checked.

    Args:
        rows: what can be drawn, in the order of the file.
        bad: the rows that cannot.
        fatal: problems of no one row: a file that cannot be read, a wrong option.
        warnings: what is passed over, and why.
        choices_seed: of the random choices.
        form: that the file was read in: text, csv or jsonl.
    """

    rows: tuple[Row, ...]
    bad: tuple[BadRow, ...] = ()
    fatal: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    choices_seed: int = 0
    form: str = "text"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All problems, each once, in the order of the file."""
        every = dict.fromkeys(self.fatal)
        every |= dict.fromkeys(problem for row in self.bad for problem in row.problems)
        return tuple(sorted(every, key=lambda problem: (problem.line, problem.column)))
