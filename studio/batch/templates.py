"""Templates of prompts: alternatives and wildcards, drawn with a seed.

=========================  ====================================================================
``{red|blue}``             one of them; an empty one is nothing
``{3::red|blue}``          red three times as often
``{2$$red|blue|green}``    two different ones, joined by ``, ``; ``{1-2$$ and $$a|b|c}``
``__colours/dark__``       a line of ``colours/dark.txt`` in the folder of wildcards
``\\{ \\} \\__``              the characters themselves; within alternatives also ``\\|``
=========================  ====================================================================

They stand in one another. Everything else is the prompt's own: ``(word:1.2)``, ``[a|b]``, ...
The grammar is ``template.lark``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from random import Random
from typing import Any, Protocol, TypeAlias

from lark import Lark, Token, Transformer
from lark.exceptions import UnexpectedInput, UnexpectedToken

NESTING_LIMIT = 32
"""How many alternatives and wildcards may stand in one another."""

_LONGEST = 200_000  # characters; more than any request takes
_MOST_DRAWS = 10_000  # in one template
_SPECIAL = {"{", "}", "__"}
_VALID = r"{one|another}, and \{ or \} for the characters themselves"


class TemplateError(Exception):
    """A template cannot be read or drawn; becomes a problem of its row.

    Args:
        column: 1-based character of the template.
        reason: what is wrong.
        valid: what would be valid.
    """

    def __init__(self, column: int, reason: str, valid: str = "") -> None:
        self.column = column
        self.reason = reason
        self.valid = valid
        super().__init__(reason)


@dataclass(frozen=True)
class Wildcard:
    """``__name__`` and its 1-based column."""

    name: str
    column: int


@dataclass(frozen=True)
class Choice:
    """``{...}``: draws from ``lowest`` to ``highest`` different options."""

    options: tuple[Option, ...]
    lowest: int = 1
    highest: int = 1
    separator: str = ", "


@dataclass(frozen=True)
class Option:
    """One alternative, and how often it is drawn compared to others."""

    nodes: tuple[Node, ...]
    weight: float = 1.0


Node: TypeAlias = str | Wildcard | Choice


class Source(Protocol):
    """Where wildcards come from."""

    def options(self, name: str) -> tuple[Option, ...]:
        """The lines of a wildcard.

        Raises:
            TemplateError: there is none, or it cannot be read.
        """


def is_plain(template: str) -> bool:
    """Whether a template is its own text, with nothing to draw or to unescape.

    So is one that is too long for any request, which is refused as it stands.
    """
    marked = "{" in template or "}" in template or "__" in template
    return not marked or len(template) > _LONGEST


def escaped(text: str) -> str:
    """The template that draws ``text``."""
    return re.sub(r"([{}]|__)", r"\\\1", text)


@lru_cache(maxsize=4096)
def parse(template: str) -> tuple[Node, ...]:
    """What a template consists of.

    Raises:
        TemplateError: braces do not pair, or stand too deep in one another.
    """
    if is_plain(template):
        return (template,)
    try:
        nodes: Any = _grammar().parse(template)
    except UnexpectedInput as error:
        raise _unpaired(template, error) from None
    return tuple(nodes)


def wildcards(nodes: Sequence[Node]) -> Iterator[Wildcard]:
    """All wildcards in a template, in order, whether or not they would be drawn."""
    waiting = list(reversed(nodes))
    while waiting:
        node = waiting.pop()
        if isinstance(node, Wildcard):
            yield node
        elif isinstance(node, Choice):
            inner = [one for option in node.options for one in option.nodes]
            waiting += reversed(inner)


def has_choices(nodes: Sequence[Node]) -> bool:
    """Whether anything is drawn."""
    return any(not isinstance(node, str) for node in nodes)


def draw(template: str, seed: int, source: Source) -> str:
    """The prompt that a template becomes; the same for the same seed and wildcards.

    Args:
        template: any text.
        seed: 0 or more.
        source: of the wildcards.

    Raises:
        TemplateError: see :func:`parse`; also a wildcard that is not there, or a prompt that grows
            without bounds.
    """
    nodes = parse(template)
    if not has_choices(nodes):
        return "".join(str(node) for node in nodes)
    return _Draw(Random(seed), source).text(nodes, 0)


@dataclass
class _Draw:
    random: Random
    source: Source
    draws: int = 0
    length: int = 0
    path: list[str] = field(default_factory=list)

    def text(self, nodes: Sequence[Node], depth: int) -> str:
        return "".join([self._node(node, depth) for node in nodes])

    def _node(self, node: Node, depth: int) -> str:
        self.draws += 1
        if isinstance(node, str):
            self.length += len(node)
            return node
        if max(depth - NESTING_LIMIT, self.draws - _MOST_DRAWS, self.length - _LONGEST) > 0:
            raise TemplateError(1, "grows without bounds", "wildcards that do not hold each other")
        if isinstance(node, Wildcard):
            return self.text(self._one(self.source.options(node.name)).nodes, depth + 1)
        left = list(node.options)
        span = node.highest - node.lowest + 1
        count = node.lowest + min(int(self.random.random() * span), span - 1)
        drawn = []
        for _ in range(min(count, len(left))):
            option = self._one(left)
            left.remove(option)
            drawn.append(self.text(option.nodes, depth + 1))
        return node.separator.join(drawn)

    def _one(self, options: Sequence[Option]) -> Option:
        # Of Random only random() promises the same numbers in every version of Python.
        at = self.random.random() * sum(option.weight for option in options)
        for option in options:
            at -= option.weight
            if at < 0:
                return option
        return options[-1]


class _Build(Transformer[Token, Any]):
    def template(self, nodes: list[Any]) -> list[Node]:
        return _joined(nodes)

    def choice(self, children: list[Any]) -> Choice:
        picks, *options = children
        if picks is None:
            return Choice(tuple(options))
        span, separator, *_ = [*str(picks).split("$$"), ", "]
        lowest, _, highest = span.partition("-")
        if separator == "" and str(picks).count("$$") == 1:
            separator = ", "
        low, high = int(lowest), int(highest or lowest)
        return Choice(tuple(options), low, max(low, high), separator)

    def option(self, children: list[Any]) -> Option:
        weight, *nodes = children
        share = 1.0 if weight is None else float(weight[:-2])
        return Option(tuple(_joined(_bars(nodes))), share)

    def square(self, children: list[Any]) -> list[Node]:
        return _joined(_bars(children))

    def ESCAPED(self, token: Token) -> str:  # noqa: N802 - the terminal's name
        return str(token[1:]) if token[1:] in _SPECIAL else str(token)

    def WILDCARD(self, token: Token) -> Wildcard:  # noqa: N802
        return Wildcard(token[2:-2], (token.start_pos or 0) + 1)


def _bars(nodes: list[Any]) -> list[Any]:
    """Unescapes the bars of alternatives; elsewhere a backslash before one is the prompt's own."""
    return ["|" if node == r"\|" else node for node in nodes]


def _joined(nodes: list[Any]) -> list[Node]:
    """Flat, with neighbouring texts as one."""
    flat: list[Node] = []
    for node in nodes:
        for part in node if isinstance(node, list) else [node]:
            text = str(part) if isinstance(part, str) else None
            if text is not None and flat and isinstance(flat[-1], str):
                flat[-1] += text
            else:
                flat.append(part if text is None else text)
    return flat


def _unpaired(template: str, error: UnexpectedInput) -> TemplateError:
    at = error.pos_in_stream
    if at is None or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return TemplateError(_open(template) + 1, "the brace { is never closed", _VALID)
    mark = template[at]
    return TemplateError(at + 1, f"{mark!r} has no partner here", _VALID)


def _open(template: str) -> int:
    waiting = []
    for found in re.finditer(r"\\.|[{}]", template, re.DOTALL):
        if found[0] == "{":
            waiting.append(found.start())
        elif found[0] == "}" and waiting:
            waiting.pop()
    return waiting[0] if waiting else 0


@cache
def _grammar() -> Lark:
    text = resources.files("studio.batch").joinpath("template.lark").read_text("utf-8")
    return Lark(
        text, start="template", parser="lalr", transformer=_Build(), maybe_placeholders=True
    )
