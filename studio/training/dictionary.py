"""Nouns of a dictionary and what they are kinds of: other words for the labels of the drawings.

Read from the files of WordNet (G. A. Miller 1995, WordNet: A Lexical Database for English; their
form is that of wndb(5WN)), of which senses that can be drawn are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from studio.errors import StudioError
from studio.training.sources import Source

DRAWABLE = frozenset({"05", "06", "08", "13", "17", "19", "20"})
"""WordNet's groups of nouns whose members can be seen: animals, artifacts, parts of bodies, foods,
objects, phenomena and plants."""
LEVELS = 3
"""The word itself and how far up: further stand things like 'organism', which say little."""
SAID = 4
"""How many words explain a sense."""
_WORD = re.compile(r"[a-z]{2,}([ -][a-z]{2,})?")
_BROADER = "@"


@dataclass(frozen=True)
class Sense:
    """Words that mean one thing (without names and Latin), and the places of broader senses."""

    words: tuple[str, ...]
    broader: tuple[str, ...]


@dataclass(frozen=True)
class Dictionary:
    """``senses`` by place, and the places of each word's senses, the commonest first.

    A ``pony`` is a ``horse``, an ``equine``, an ``animal``.
    """

    senses: Mapping[str, Sense]
    words: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, source: Source) -> Dictionary:
        """The nouns of one or two words that can be drawn, and what they are kinds of.

        Raises:
            StudioError: the package lacks WordNet's files, or they are broken.
        """
        data, index = (_lines(source, f"dict/{name}.noun") for name in ("data", "index"))
        try:
            read = [_sense(line) for line in data]
            senses = {place: sense for place, _, sense in read}
            drawable = {place for place, group, _ in read if group in DRAWABLE}
            plain = {word for sense in senses.values() for word in sense.words}
            words = {}
            for line in index:
                word, _, count, *rest = line.split()
                places = tuple(place for place in rest[-int(count) :] if place in drawable)
                if places and _spaced(word) in plain and _WORD.fullmatch(_spaced(word)):
                    words[_spaced(word)] = places
            level = {place for places in words.values() for place in places}
            kept: set[str] = set()
            for _ in range(LEVELS):
                kept |= level
                level = {broader for place in level for broader in senses[place].broader}
        except (ValueError, KeyError, IndexError) as error:
            raise StudioError(
                f"The dictionary in {source.package.spec} is broken: {error!r}."
            ) from error
        return cls({place: senses[place] for place in sorted(kept)}, words)

    @classmethod
    def from_json(cls, text: str | bytes) -> Dictionary:
        """What :meth:`to_json` wrote."""
        values = json.loads(text)
        senses = {place: Sense(tuple(w), tuple(b)) for place, (w, b) in values["senses"].items()}
        return cls(senses, {word: tuple(places) for word, places in values["words"].items()})

    def to_json(self) -> str:
        senses = {place: (sense.words, sense.broader) for place, sense in self.senses.items()}
        return json.dumps({"senses": senses, "words": self.words}, separators=(",", ":"))

    def explained(self, word: str) -> tuple[str, ...]:
        """The word with the words nearest to it, in each of its senses."""
        return tuple(
            ", ".join(list(dict.fromkeys((word, *self._said(place))))[:SAID])
            for place in self.words.get(word, ())
        )

    def kinds(self, word: str) -> frozenset[str]:
        """What the word is or is a kind of, in any of its senses."""
        return frozenset(one for place in self.words.get(word, ()) for one in self._said(place))

    def broader(self, place: str) -> tuple[str, ...]:
        """The places of what a sense is a kind of; none where they are not kept."""
        return tuple(one for one in self.senses[place].broader if one in self.senses)

    def _said(self, place: str) -> Iterator[str]:
        level = [place]
        for _ in range(LEVELS):
            for one in level:
                yield from self.senses[one].words
            level = [broader for one in level for broader in self.broader(one)]


def _lines(source: Source, path: str) -> list[str]:
    if path not in source.files:
        raise StudioError(f"The package {source.package.spec} holds no {path}.")
    # What begins with spaces is the licence.
    return [line for line in source.files[path].decode().splitlines() if not line.startswith(" ")]


def _sense(line: str) -> tuple[str, str, Sense]:
    """Place, group and sense of a line of ``data.noun``."""
    place, group, _, count, *rest = line.partition(" | ")[0].split()
    end = 2 * int(count, 16)
    words = tuple(_spaced(word) for word in rest[:end:2] if word.islower())
    pointers = rest[end + 1 :]
    broader = tuple(
        pointers[n + 1] for n in range(0, 4 * int(rest[end]), 4) if pointers[n] == _BROADER
    )
    return place, group, Sense(words, broader)


def _spaced(word: str) -> str:
    return word.replace("_", " ")
