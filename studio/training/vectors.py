"""Word vectors: what words stand beside in texts, where the sentence encoder hardly knows them.

GloVe of 100 dimensions (Pennington, Socher and Manning 2014, GloVe: Global Vectors for Word
Representation), as the package of the recipe has it, without what all common words share (Mu and
Viswanath 2018, All-but-the-Top).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from studio.errors import StudioError
from studio.training.sources import Source

DIMENSIONS = 100
COMMON = 20000
"""So many of the commonest words tell what all share."""
_SCALE = 127

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WordVectors:
    """Unit vectors in steps of 1/127, int8 [N, 100], by word."""

    steps: npt.NDArray[np.int8]
    place: Mapping[str, int]

    @classmethod
    def read(cls, source: Source, texts: Iterable[str]) -> Self:
        """Those of the words in the texts.

        Raises:
            StudioError: the package holds no such vectors.
        """
        stated = source.json(f"{source.package.name}.json")
        try:
            words, rows = stated["words"], stated["vectors"]
            mean = np.mean([rows[word][:DIMENSIONS] for word in words[:COMMON]], axis=0)
            kept = sorted({word for text in texts for word in _words(text)} & rows.keys())
            vectors = np.array([rows[word][:DIMENSIONS] for word in kept]) - mean
            if not kept or vectors.shape[1] != DIMENSIONS:
                raise ValueError("no vector of the wanted size")
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StudioError(
                f"The word vectors in {source.package.spec} are broken: {error!r}."
            ) from error
        steps = np.rint(_unit(vectors) * _SCALE).astype(np.int8)
        return cls(steps, {word: n for n, word in enumerate(kept)})

    def of(self, texts: Sequence[str]) -> Vectors:
        """The mean of each text's words [N, 100] of unit length; zeros where no word is known."""
        return np.stack([self._mean(text) for text in texts])

    def _mean(self, text: str) -> Vectors:
        known = [self.place[word] for word in _words(text) if word in self.place]
        if not known:
            return np.zeros(DIMENSIONS, np.float32)
        return _unit(self.steps[known].astype(np.float32).mean(0))

    def to_bytes(self) -> bytes:
        """A line of the words, then the steps of each."""
        return " ".join(self.place).encode() + b"\n" + self.steps.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What :meth:`to_bytes` wrote.

        Raises:
            ValueError: it is cut short.
        """
        words, _, steps = data.partition(b"\n")
        place = {word: n for n, word in enumerate(words.decode().split(" "))}
        return cls(np.frombuffer(steps, np.int8).reshape(len(place), DIMENSIONS), place)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    length = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    unit: Vectors = np.asarray(vectors / length, np.float32)
    return unit
