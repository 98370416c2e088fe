"""Which tokens of a prompt say what which tokens of a caption say, where both ask for the same."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import SequenceMatcher
from itertools import pairwise

_CHARACTER = re.compile("[^¡-¿Ā-Ń][¡-¿Ā-Ń]*")
"""A character as byte-level BPE writes it: its first byte, and those that continue it. Two that
differ may begin alike."""


def places(
    said: Sequence[str], meant: Sequence[str], droppable: Collection[str]
) -> list[int] | None:
    """Where in ``meant`` each token of ``said``, which asks for the same, stands; -1: nowhere.

    The longest runs that both have go first, in whatever order they stand. What is left between two
    of them is another word for what is left there in ``meant``; its end stands for that.

    Returns:
        None: more of ``meant`` than what is droppable is not said.
    """
    found = [-1] * len(said)
    free = [True] * len(meant)
    while run := _longest(said, meant, found, free, droppable):
        at, of, length = run
        for n in range(length):
            found[at + n], free[of + n] = of + n, False
    told = [n for n, place in enumerate(found) if place >= 0]
    ends = [(-1, -1), *((n, found[n]) for n in told), (len(said), len(meant))]
    for (before, left), (after, right) in pairwise(ends):
        lost = [n for n in range(left + 1, right) if free[n] and meant[n] not in droppable]
        for n, place in zip(range(after - 1, before, -1), reversed(lost), strict=False):
            found[n], free[place] = place, False
    return _complete(found, meant, droppable)


def places_in_chinese(
    said: Sequence[str], meant: Sequence[str], droppable: Collection[str]
) -> list[int] | None:
    """The same where no spaces part the words, so a token may hold a word and what stands before
    it: the place of the last character that both have, in the order of both."""
    of = [n for n, token in enumerate(meant) for _ in token]
    token_at = [n for n, token in enumerate(said) for _ in token]
    found = [-1] * len(said)
    here, there = ([*_CHARACTER.finditer("".join(tokens))] for tokens in (said, meant))
    matcher = SequenceMatcher(None, [c[0] for c in here], [c[0] for c in there], autojunk=False)
    for at, start, length in matcher.get_matching_blocks():
        for one, other in zip(here[at:], there[start : start + length], strict=False):
            for n in range(len(one[0])):
                found[token_at[one.start() + n]] = of[other.start() + n]
    return _complete(found, meant, droppable)


def _complete(
    found: list[int], meant: Sequence[str], droppable: Collection[str]
) -> list[int] | None:
    """None: more of ``meant`` than what is droppable has no token."""
    lacking = {token for n, token in enumerate(meant) if n not in found}
    return found if lacking <= {*droppable} else None


def _longest(
    said: Sequence[str], meant: Sequence[str], found: Sequence[int], free: Sequence[bool],
    droppable: Collection[str],
) -> tuple[int, int, int] | None:  # fmt: skip
    """Start in ``said``, start in ``meant`` and length of the longest run that is left in both,
    and is not all droppable."""
    best = None
    for at in range(len(said)):
        for of in range(len(meant)):
            n = 0
            while (
                at + n < len(said) and of + n < len(meant) and free[of + n]
                and found[at + n] < 0 and said[at + n] == meant[of + n]
            ):  # fmt: skip
                n += 1
            if n > (best[2] if best else 0) and not {*said[at : at + n]} <= {*droppable}:
                best = at, of, n
    return best
