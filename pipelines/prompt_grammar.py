"""The prompt language of A1111's web UI: weights, schedules, alternation and BREAK.

========================  =====================================================================
``(word)`` ``[word]``     weight times 1.1, divided by 1.1; nesting multiplies
``(word:1.3)``            weight times 1.3
``[from:to:when]``        ``from`` for the first steps, then ``to``; ``[to:when]``, ``[from::when]``
``[a|b|c]``               another one each step
``BREAK``                 what follows begins a new window of the text encoder
``\\( \\) \\[ \\] \\\\``       the character itself; any other single backslash disappears
========================  =====================================================================

``when`` is a share of the steps (below 1, or "1.0") or a number of steps (1 and above). Brackets
that do not pair never are errors: an opening one weighs everything up to the end, a closing one is
text. The grammar is ``prompt.lark``; parsing takes time linear in the length of the prompt.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple, TypeAlias

from lark import Lark, Token, Transformer
from lark.lark import PostLex

from studio.errors import PromptError

STRONGER = 1.1
"""What one pair of round brackets multiplies by, and one of square brackets divides by."""

WEIGHT_LIMIT = 100.0
"""Weights lie within plus and minus this, also where brackets multiply."""

NESTING_LIMIT = 32
"""How many schedules and alternations may stand in one another."""

_LONGEST_RUN = 1000  # steps of the run that a prompt is checked for


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


class Schedule(NamedTuple):
    """``[before:after:when]``; ``when`` is a share of the steps or a number of them."""

    before: tuple[Node, ...]
    after: tuple[Node, ...]
    when: float
    is_share: bool

    def first_step_after(self, steps: int) -> int:
        """The first step, from 0, that shows ``after``; ``steps`` = never."""
        when = self.when * steps if self.is_share else self.when
        return int(max(0.0, min(when, steps)))


class Alternation(NamedTuple):
    """``[a|b|c]``: step i shows option i modulo their number."""

    options: tuple[tuple[Node, ...], ...]


Node: TypeAlias = Piece | Schedule | Alternation


@dataclass(frozen=True)
class Prompt:
    """A parsed prompt.

    Args:
        source: the prompt as typed.
        nodes: what it consists of.
        field: the request's field that errors name.
    """

    source: str
    nodes: tuple[Node, ...]
    field: str = "prompt"

    def at(self, step: int, steps: int) -> tuple[Chunk, ...]:
        """What the prompt says at one step.

        Args:
            step: counted from 0.
            steps: how many the run has.
        Returns:
            At least one chunk; neighbouring runs differ in weight.
        Raises:
            PromptError: schedules put together an impossible weight at this step.
        """
        return self._weighted(tuple(_pieces(self.nodes, step, steps)))

    def boundaries(self, steps: int) -> tuple[int, ...]:
        """The steps, from 0, at which the text may change; the first is 0."""
        changes = {0}
        for node in _descend(self.nodes):
            if isinstance(node, Alternation):
                return tuple(range(steps))
            if isinstance(node, Schedule):
                changes.add(node.first_step_after(steps))
        return tuple(sorted(step for step in changes if step < steps))

    @property
    def plain(self) -> bool:
        """Whether it is nothing but text of weight 1, the same at every step."""
        if any(not isinstance(node, Piece) for node in self.nodes):
            return False
        chunks = self.at(0, 1)
        return len(chunks) == 1 and all(run.weight == 1 for run in chunks[0])

    def _weighted(self, pieces: tuple[Piece, ...]) -> tuple[Chunk, ...]:
        try:
            return _emphasis(pieces)
        except _FaultError as fault:
            raise fault.in_prompt(self) from None


def parse(prompt: str, *, field: str = "prompt") -> Prompt:
    """Read a prompt.

    Args:
        prompt: any text.
        field: the request's field that errors name.
    Raises:
        PromptError: a weight is no finite number within :data:`WEIGHT_LIMIT`, or schedules are
            nested deeper than :data:`NESTING_LIMIT`.
    """
    unread = Prompt(prompt, (), field)
    try:
        tree: Any = _grammar("prompt").parse(prompt)
    except _FaultError as fault:
        raise fault.in_prompt(unread) from None
    parsed = Prompt(prompt, tuple(tree), field)
    parsed.at(0, _LONGEST_RUN)
    for node in parsed.nodes:
        if not isinstance(node, Piece):
            for inner in _descend((node,)):
                if isinstance(inner, Piece):
                    parsed._weighted((inner,))
    return parsed


class _FaultError(Exception):
    """An error at a character (from 0) of the text in hand."""

    def __init__(self, reason: str, position: int, valid: str) -> None:
        self.reason = reason
        self.position = position
        self.valid = valid

    def in_prompt(self, prompt: Prompt) -> PromptError:
        return PromptError(
            prompt.source,
            self.reason,
            column=self.position + 1,
            field=prompt.field,
            valid=self.valid,
        )


def _pieces(nodes: Iterable[Node], step: int, steps: int) -> Iterator[Piece]:
    """The text of one step. Recursion is bounded by the nesting limit."""
    for node in nodes:
        if isinstance(node, Piece):
            yield node
        elif isinstance(node, Schedule):
            over = step >= node.first_step_after(steps)
            yield from _pieces(node.after if over else node.before, step, steps)
        else:
            yield from _pieces(node.options[step % len(node.options)], step, steps)


def _descend(nodes: Iterable[Node]) -> Iterator[Node]:
    """All nodes, outer ones first."""
    for node in nodes:
        yield node
        if isinstance(node, Schedule):
            yield from _descend((*node.before, *node.after))
        elif isinstance(node, Alternation):
            yield from _descend(inner for option in node.options for inner in option)


# ---- pass 1: schedules and alternations


@dataclass
class _Open:
    """An opening bracket that waits for its partner."""

    index: int
    colons: list[int]
    bars: list[int]
    depth: int = 0


class BracketFilter(PostLex):
    """Finds the brackets of schedules and alternations; every other mark becomes text.

    A closing bracket of the wrong kind can be no part of a pair, nor can any bracket around it.
    """

    # The filter reads the whole prompt before the parser sees a token, so the lexer must accept
    # every terminal of the first pass from the start.
    always_accept = ("OPEN", "CLOSE", "MARK", "WHEN")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """Retype the marks, join neighbouring text."""
        tokens = list(stream)
        types = self._types(tokens)
        text: list[Token] = []
        for token, kind in zip(tokens, types, strict=True):
            if kind == "TEXT":
                text.append(token)
                continue
            if text:
                yield Token.new_borrow_pos("TEXT", "".join(text), text[0])
                text = []
            yield Token.new_borrow_pos(kind, token, token)
        if text:
            yield Token.new_borrow_pos("TEXT", "".join(text), text[0])

    @staticmethod
    def _types(tokens: Sequence[Token]) -> list[str]:
        types = ["TEXT"] * len(tokens)
        waiting: list[_Open] = []
        for i, token in enumerate(tokens):
            if token.type == "OPEN":
                waiting.append(_Open(i, [], []))
            elif token.type == "MARK" and waiting:
                (waiting[-1].colons if token == ":" else waiting[-1].bars).append(i)
            elif token.type == "CLOSE" and waiting:
                bracket = waiting.pop()
                opening = tokens[bracket.index]
                if (opening == "(") != (token == ")"):
                    waiting.clear()
                    continue
                depth = bracket.depth
                if token == "]":
                    scheduled = tokens[i - 1].type == "WHEN" and len(bracket.colons) <= 1
                    alternates = tokens[i - 1].type != "WHEN" and not bracket.colons
                    if scheduled:
                        types[bracket.index] = "_BEGIN_SCHEDULE"
                        types[i - 1] = "WHEN"
                        for mark in bracket.colons:
                            types[mark] = "_THEN"
                    elif alternates and bracket.bars:
                        types[bracket.index] = "_BEGIN_ALTERNATION"
                        for mark in bracket.bars:
                            types[mark] = "_OR"
                    if types[bracket.index] != "TEXT":
                        types[i] = "_END"
                        depth += 1
                if depth > NESTING_LIMIT:
                    raise _FaultError(
                        f"schedules are nested more than {NESTING_LIMIT} deep",
                        opening.start_pos or 0,
                        f"up to {NESTING_LIMIT} in one another",
                    )
                if waiting:
                    waiting[-1].depth = max(waiting[-1].depth, depth)
        return types


class _Build(Transformer[Token, Any]):
    """Builds the nodes while the parser runs, so that no tree is walked by recursion."""

    def prompt(self, nodes: list[Node]) -> tuple[Node, ...]:
        return tuple(nodes)

    text = prompt

    def TEXT(self, token: Token) -> Piece:  # noqa: N802 - the terminal's name
        return Piece(str(token), token.start_pos or 0)

    def schedule(self, children: list[Any]) -> Schedule:
        first, second, token = children
        before, after = ((), first) if second is None else (first, second)
        number = token[1:].strip()
        when = float(number)
        return Schedule(before, after, when, is_share=when < 1 or (when == 1 and "." in number))

    def alternation(self, options: list[tuple[Node, ...]]) -> Alternation:
        return Alternation(tuple(options))


@cache
def _grammar(start: str) -> Lark:
    text = resources.files("studio.pipelines").joinpath("prompt.lark").read_text(encoding="utf-8")
    if start == "prompt":
        return Lark(text, start=start, parser="lalr", postlex=BracketFilter(), transformer=_Build())
    return Lark(text, start=start, parser="lalr")


# ---- pass 2: emphasis


@lru_cache(maxsize=64)
def _emphasis(pieces: tuple[Piece, ...]) -> tuple[Chunk, ...]:
    """Weights of one step's text; faults name the character of the prompt as typed."""
    text = "".join(piece.text for piece in pieces)
    tokens = _grammar("emphasis").parse(text).children if text else []
    try:
        return _chunks(tokens, _factors(tokens))
    except _FaultError as fault:
        ends = [0]
        for piece in pieces:
            ends.append(ends[-1] + len(piece.text))
        i = bisect_right(ends, fault.position) - 1
        fault.position += pieces[i].start - ends[i]
        raise


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
        raise _FaultError(f"weight {number[:20]!r} is no number", position, valid) from None
    if not abs(weight) <= WEIGHT_LIMIT:
        raise _FaultError(f"weight {number[:20]} is out of range", position, valid)
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
                raise _FaultError(
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
