"""From weighted text to windows of token ids, each as long as a text encoder can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from studio.pipelines.prompt_grammar import Chunk

COMMA_REACH = 20
"""A window ends at its last comma where that lies within so many tokens of its end."""


class Window(NamedTuple):
    """What a text encoder reads at once: BOS, tokens, EOS, padding.

    Args:
        ids: token ids, as many as the window is long.
        weights: the emphasis of each token, 1 for BOS, EOS and padding.
        used: how many ids come before the padding.
    """

    ids: list[int]
    weights: list[float]
    used: int


@dataclass(frozen=True)
class Vocabulary:
    """What the windows need to know about a tokenizer.

    Args:
        encode: texts to token ids, of any length, without BOS and EOS.
        bos: id of the mark that begins a window.
        eos: id of the mark that ends the text.
        pad: id that fills the rest of the window.
        length: ids in a window, BOS and EOS included.
    """

    encode: Callable[[list[str]], list[list[int]]]
    bos: int
    eos: int
    pad: int
    length: int

    @classmethod
    def of(cls, tokenizer: Any, longest: int) -> Vocabulary:
        """Read a tokenizer of transformers or of open_clip.

        Args:
            tokenizer: a transformers tokenizer, or open_clip's ``SimpleTokenizer`` or
                ``HFTokenizer``.
            longest: positions of the text encoder; windows are never longer.
        """
        if hasattr(tokenizer, "sot_token_id"):  # open_clip's own, which pads with zeros
            return cls(
                encode=lambda texts: [tokenizer.encode(text) for text in texts],
                bos=tokenizer.sot_token_id,
                eos=tokenizer.eot_token_id,
                pad=0,
                length=min(tokenizer.context_length, longest),
            )
        if not hasattr(tokenizer, "model_max_length"):  # open_clip's wrapper
            tokenizer = tokenizer.tokenizer
        eos = tokenizer.eos_token_id
        return cls(
            # "verbose=False": texts longer than a window are no reason to warn, they are split.
            encode=lambda texts: (
                tokenizer(
                    texts, add_special_tokens=False, truncation=False, verbose=False
                ).input_ids
            ),
            bos=tokenizer.bos_token_id,
            eos=eos,
            pad=eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
            length=min(tokenizer.model_max_length, longest),
        )

    def windows(self, chunk: Chunk) -> list[Window]:
        """Cut a chunk into at least one window, the way A1111 does.

        A window that is full ends after its last comma, where one lies within
        :data:`COMMA_REACH` tokens of the end; what follows the comma moves to the next window.
        """
        room = self.length - 2
        texts = self.encode([run.text for run in chunk])
        commas = self.encode([","])[0]
        comma = commas[0] if len(commas) == 1 else None
        full: list[list[tuple[int, float]]] = []
        now: list[tuple[int, float]] = []
        last_comma: int | None = None
        for ids, (_, weight) in zip(texts, chunk, strict=True):
            for token in ids:
                if len(now) == room:
                    cut = room
                    if (
                        token != comma
                        and last_comma is not None
                        and room - last_comma <= COMMA_REACH
                    ):
                        cut = last_comma + 1
                    full.append(now[:cut])
                    now, last_comma = now[cut:], None
                if token == comma:
                    last_comma = len(now)
                now.append((token, weight))
        if now or not full:
            full.append(now)
        return [self._window(tokens) for tokens in full]

    def _window(self, tokens: Sequence[tuple[int, float]]) -> Window:
        padding = self.length - 2 - len(tokens)
        return Window(
            ids=[self.bos, *(token for token, _ in tokens), self.eos, *[self.pad] * padding],
            weights=[1.0, *(weight for _, weight in tokens), *[1.0] * (padding + 1)],
            used=len(tokens) + 2,
        )
