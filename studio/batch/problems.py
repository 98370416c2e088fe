"""What is wrong with a prompt file, and where."""

from __future__ import annotations

from dataclasses import dataclass, replace

from studio.errors import RequestError

_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        line: 1-based line of the file; 0 = in the options beside it: with a column those of
            ``--each``.
        column: 1-based character of that line or option; 0 = the whole of it.
        field: field of the request, flag or option; empty where there is none.
        reason: why it cannot be used.
        valid: what would be valid, the nearest first; empty where nothing can be said.
        value: the refused value, shortened; empty where the reason says it.
    """

    line: int
    column: int
    field: str
    reason: str
    valid: str = ""
    value: str = ""

    def __str__(self) -> str:
        """One line of text without the name of the file."""
        where = f"line {self.line}" if self.line else "--each" if self.column else ""
        if self.column:
            where += f", column {self.column}"
        what = f"{self.field} = {self.value}" if self.field and self.value else self.field
        text = ": ".join(part for part in (where, what, self.reason) if part)
        text = f"{text}. Valid: {self.valid}." if self.valid else f"{text}."
        text = " ".join(text.split())
        if text.isprintable():
            return text
        # What a file holds must not steer the terminal.
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

    def at(self, line: int, column: int) -> Problem:
        """The same problem in another place."""
        return replace(self, line=line, column=column)


def from_error(error: RequestError, line: int, column: int) -> Problem:
    """What the request's validator says, as a problem of this place."""
    unknown = error.reason == "unknown field"  # whatever its value
    value = "" if error.value is None or unknown else shown(error.value)
    return Problem(line, column, error.field, error.reason, error.valid, value)


def shown(value: object) -> str:
    """A value as it is quoted in a problem, on one line."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."
