"""The second pass of the prompt language: which weight the text of one step has.

As in A1111, round and square brackets are counted apart and may overlap, an opening bracket without
a partner weighs everything up to the end, and a closing one is text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple, TypeAlias

from lark import Lark, Token

STRONGER = 1.1
"""What one pair of round brackets multiplies by, and one of square brackets divides by."""

WEIGHT_LIMIT = 100.0
"""Weights lie within plus and minus this, also where brackets multiply."""


class Run(NamedTuple):
    """Text of one weight."""

    text: str
    weight: float = 1.0


Chunk: TypeAlias = tuple[Run, ...]
"""The runs between two BREAKs, at least one."""

EMPTY: Chunk = (Run(""),)
"""The chunk of an empty prompt."""


class Piece(NamedTuple):
    """Text as it stands in the prompt, from the character ``start`` (counted from 0)."""

    text: str
    start: int


class FaultError(Exception):
    """An error at a character (from 0) of the prompt; becomes a ``PromptError`` with column.

    Args:
        reason: what is wrong.
        position: where.
        valid: what would be valid.
    """

    def __init__(self, reason: str, position: int, valid: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position
        self.valid = valid


@cache
def read_grammar() -> str:
    """The text of ``prompt.lark``."""
    return resources.files("studio.pipelines").joinpath("prompt.lark").read_text(encoding="utf-8")


@cache
def _grammar() -> Lark:
    return Lark(read_grammar(), start="emphasis", parser="lalr")


@lru_cache(maxsize=64)
def weigh(pieces: tuple[Piece, ...]) -> tuple[Chunk, ...]:
    """Read the weights of one step's text.

    Args:
        pieces: the text, in the order in which it is shown.
    Returns:
        At least one chunk; neighbouring runs differ in weight.
    Raises:
        FaultError: a weight is no finite number within the limit.
    """
    text = "".join(piece.text for piece in pieces)
    tokens = _grammar().parse(text).children
    try:
        return _chunks(tokens, _factors(tokens))
    except FaultError as fault:
        starts = [0]
        for piece in pieces:
            starts.append(starts[-1] + len(piece.text))
        i = bisect_right(starts, fault.position) - 1
        position = fault.position - starts[i] + pieces[i].start
        raise FaultError(fault.reason, position, fault.valid) from None


def _factors(tokens: Sequence[Any]) -> dict[int, float]:
    """Index of each bracket that counts -> what it multiplies by (0 for closing ones)."""
    factors: dict[int, float] = {}
    rounds: list[int] = []
    squares: list[int] = []
    for i, token in enumerate(tokens):
        if token.type == "OPENING":
            (rounds if token == "(" else squares).append(i)
            factors[i] = STRONGER if token == "(" else 1 / STRONGER
        elif token.type == "WEIGHT" and rounds:
            factors[rounds.pop()] = _weight(token)
            factors[i] = 0
        elif token.type == "CLOSING":
            waiting = rounds if token == ")" else squares
            if waiting:
                waiting.pop()
                factors[i] = 0
    return factors


def _weight(token: Token) -> float:
    """The number of ``:1.3)``."""
    number = token[1:-1].strip()
    position = (token.start_pos or 0) + token.index(number)
    valid = f"a number from {-WEIGHT_LIMIT:g} to {WEIGHT_LIMIT:g}, as in (word:1.3)"
    try:
        weight = float(number)
    except ValueError:
        raise FaultError(f"weight {number[:20]!r} is no number", position, valid) from None
    if not abs(weight) <= WEIGHT_LIMIT:
        raise FaultError(f"weight {number[:20]} is out of range", position, valid)
    return weight


def _chunks(tokens: Sequence[Any], factors: dict[int, float]) -> tuple[Chunk, ...]:
    """Walk over the tokens with the weights of the brackets that are open."""
    chunks: list[list[tuple[list[str], float]]] = [[]]
    rounds, squares = [1.0], [1.0]
    for i, token in enumerate(tokens):
        if i in factors:
            stack = squares if token in ("[", "]") else rounds
            if token.type == "OPENING":
                stack.append(stack[-1] * factors[i])
            else:
                stack.pop()
        elif token.type == "BREAK":
            chunks.append([])
        elif token.type != "BACKSLASH":
            # Rounded, so that one bracket undoes the other exactly: ([word]) has weight 1.
            weight = round(rounds[-1] * squares[-1], 9)
            if not abs(weight) <= WEIGHT_LIMIT:
                raise FaultError(
                    f"brackets multiply to a weight of {weight:g}",
                    token.start_pos,
                    f"weights from {-WEIGHT_LIMIT:g} to {WEIGHT_LIMIT:g} in all",
                )
            text = token[1:] if token.type == "ESCAPED" else str(token)
            runs = chunks[-1]
            if runs and runs[-1][1] == weight:
                runs[-1][0].append(text)
            else:
                runs.append(([text], weight))
    return _finish(chunks)


def _finish(chunks: Sequence[Sequence[tuple[list[str], float]]]) -> tuple[Chunk, ...]:
    """Strip the blanks around BREAK and drop what is empty, but for one chunk of one run."""
    finished: list[Chunk] = []
    for i, chunk in enumerate(chunks):
        runs = [Run("".join(parts), weight) for parts, weight in chunk]
        if runs and i > 0:
            runs[0] = runs[0]._replace(text=runs[0].text.lstrip())
        if runs and i < len(chunks) - 1:
            runs[-1] = runs[-1]._replace(text=runs[-1].text.rstrip())
        finished.append(tuple(run for run in runs if run.text) or EMPTY)
    if len(finished) > 1 and finished[-1] == EMPTY:
        finished.pop()
    return tuple(finished)
