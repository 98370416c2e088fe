"""The prompt language of A1111's web UI: weights, schedules, alternation and BREAK.

========================  =====================================================================
``(word)`` ``[word]``     weight times 1.1, divided by 1.1; nesting multiplies
``(word:1.3)``            weight times 1.3
``[from:to:when]``        ``from`` for the first steps, then ``to``; ``[to:when]``, ``[from::when]``
``[a|b|c]``               another one each step
``BREAK``                 what follows begins a new window of the text encoder
``<lora:name:0.8>``       no text (see :mod:`studio.pipelines.prompt_tags`)
``\\( \\) \\[ \\] \\\\``       the character itself; any other single backslash disappears
========================  =====================================================================

``when`` is a share of the steps (below 1, or "1.0") or a number of steps (1 and above). Brackets
that do not pair never are errors: an opening one weighs everything up to the end, a closing one is
text. The grammar is ``prompt.lark``; parsing takes time linear in the length of the prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from lark import Lark, Token, Transformer
from lark.lark import PostLex

from studio.errors import PromptError
from studio.pipelines import prompt_tags
from studio.pipelines.prompt_emphasis import (
    EMPTY,
    WEIGHT_LIMIT,
    Chunk,
    FaultError,
    Piece,
    Run,
    read_grammar,
    weigh,
)

__all__ = ["EMPTY", "NESTING_LIMIT", "WEIGHT_LIMIT", "Chunk", "Prompt", "Run", "parse"]

NESTING_LIMIT = 32
"""How many schedules and alternations may stand in one another."""

_LONGEST_RUN = 1000  # steps of the run that a prompt is checked for


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
            return weigh(pieces)
        except FaultError as fault:
            raise self._error(fault) from None

    def _error(self, fault: FaultError) -> PromptError:
        return PromptError(
            self.source,
            fault.reason,
            column=fault.position + 1,
            field=self.field,
            valid=fault.valid,
        )


def parse(prompt: str, *, field: str = "prompt") -> Prompt:
    """Read a prompt.

    Args:
        prompt: any text.
        field: the request's field that errors name.
    Raises:
        PromptError: a weight is no finite number within :data:`WEIGHT_LIMIT`, or schedules are
            nested deeper than :data:`NESTING_LIMIT`.
    """
    text = prompt_tags.spoken(prompt)
    nodes: tuple[Node, ...] = (Piece(text, 0),)
    if "[" in text:
        try:
            tree: Any = _grammar().parse(text)
        except FaultError as fault:
            raise Prompt(prompt, (), field)._error(fault) from None
        nodes = tuple(tree)
    parsed = Prompt(prompt, nodes, field)
    if not any(bracket in text for bracket in "()[]"):  # nothing in it can be wrong
        return parsed
    parsed.at(0, _LONGEST_RUN)
    # What later steps show is checked piece by piece: going through all the steps would be slow.
    for node in _descend(node for node in nodes if not isinstance(node, Piece)):
        if isinstance(node, Piece) and "(" in node.text:
            parsed._weighted((node,))
    return parsed


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
                    raise FaultError(
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
def _grammar() -> Lark:
    return Lark(
        read_grammar(),
        start="prompt",
        parser="lalr",
        postlex=BracketFilter(),
        transformer=_Build(),
    )
