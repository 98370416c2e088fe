"""What the text tower learns to read: a prompt, and the caption whose states it shall give."""

from __future__ import annotations

from dataclasses import dataclass

from studio.training.alignment import places, places_in_chinese
from studio.training.models import Tokenizer
from studio.training.phrasing import is_chinese

DROPPABLE = frozenset({"a", "an", ",", "to", "the", "of", "on", "background"})
"""Tokens of captions that a prompt need not hold."""
DROPPABLE_CHINESE = "一个，一只，"
"""The same in Chinese."""


@dataclass(frozen=True)
class Prompt:
    """What is said, the caption that means the same, and the place of each token in it.

    ``places``: one a token of the window, -1 for what says nothing; None: those of both are alike.
    """

    said: str
    meant: str
    places: list[int] | None = None

    @classmethod
    def kept(cls, caption: str) -> Prompt:
        """A caption as it is."""
        return cls(caption, caption)

    def phrased(self, said: str, tokenizer: Tokenizer) -> Prompt:
        """The same in other words; as it is, where they do not say all of it, or are too long."""
        words, held = (_tokens(text, tokenizer) for text in (said, self.said))
        window = tokenizer.model_max_length
        if is_chinese(said):
            found = places_in_chinese(words, held, _tokens(DROPPABLE_CHINESE, tokenizer))
        else:
            found = places(words, held, DROPPABLE)
        if found is None or max(len(words), len(held)) > window - 2:
            return self
        end = len(held) + 1
        order = [0, *(place + 1 if place >= 0 else -1 for place in found), *range(end, window)]
        return Prompt(said, self.meant, [*order, *[window - 1] * window][:window])


def _tokens(text: str, tokenizer: Tokenizer) -> list[str]:
    """The tokens of a text, alike in the middle and at the end of a word."""
    return [token.removesuffix("</w>") for token in tokenizer.tokenize(text, verbose=False)]
