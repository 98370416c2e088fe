"""What other words mean among the labels of the drawings, and prompts that say so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from studio.training.dataset import Drawings
from studio.training.dictionary import Dictionary
from studio.training.scenes import BACKGROUNDS, Rng
from studio.training.teacher import Teacher
from studio.training.wording import CHINESE_STYLE, on_background, one_of, with_article

SAME, KIND, KIND_OF_KIND, NARROWER, BESIDE = 0.3, 0.2, 0.15, 0.15, 0.1
"""What it adds to a cosine that the dictionary has a label as the same, as what the word is a kind
of, as a kind of the word, or as another kind of the same."""
TRUSTED = 1.0
"""What is added besides to a label that the word is, or is a kind of, or is but for spaces."""
SPELLED = 0.2
"""Weight of a word itself against what the dictionary says of it, where the encoder knows the word
only by its spelling; else both weigh the same."""
BESIDE_IN_TEXTS = 0.3
"""How much of the cosine of word vectors is added."""
EXPLAIN = 8
"""How many keywords say what a label means."""
LESS_COMMON = 0.05
"""What it takes away that another sense of the word is more common."""


@dataclass(frozen=True)
class Meaning:
    """A word (or a label in Chinese), and the label in English that it stands for."""

    word: str
    label: str


class Kin:
    """Which of some labels are near a word in a dictionary."""

    def __init__(self, dictionary: Dictionary, labels: Sequence[str]) -> None:
        self.dictionary, self.labels = dictionary, labels
        column = {label: n for n, label in enumerate(labels)}
        self.here: dict[str, set[int]] = {}
        self.below: dict[str, set[int]] = {}
        for place, sense in dictionary.senses.items():
            if here := {column[word] for word in sense.words if word in column}:
                self.here[place] = here
                for one in dictionary.broader(place):
                    self.below.setdefault(one, set()).update(here)

    def near(self, word: str) -> npt.NDArray[np.float32]:
        """How near each label is to the word, [labels] in [0, 0.3]."""
        near = np.zeros(len(self.labels), np.float32)
        for less, place in enumerate(self.dictionary.words.get(word, ())):
            kinds = self.dictionary.broader(place)
            further = [one for kind in kinds for one in self.dictionary.broader(kind)]
            for value, group, places in (
                (SAME, self.here, (place,)), (KIND, self.here, kinds),
                (KIND_OF_KIND, self.here, further), (NARROWER, self.below, (place,)),
                (BESIDE, self.below, kinds),
            ):  # fmt: skip
                found = [n for one in places for n in group.get(one, ())]
                near[found] = np.maximum(near[found], value - LESS_COMMON * less)
        return near


class Meanings:
    """Other words for the labels of the drawings.

    Each word means the label nearest to it, if that is ``near``: by the cosine of the encoder, of
    the word itself and of what the dictionary says of it, to the label alone and with its keywords,
    by kinship in the dictionary, and by what both stand beside in texts; a label that the word is a
    kind of goes before all others. Words that the dictionary calls the same as their label, in
    their commonest sense, and that the encoder gives to it as well, are ``same``. Words of the
    encoder's vocabulary that mean none, and are no keywords, are ``idle``.

    Args:
        words: what is asked; None: keywords of the drawings, the encoder's own vocabulary and the
            nouns of the dictionary.
    """

    def __init__(
        self, drawings: Drawings, teacher: Teacher, near: float, words: Iterable[str] | None = None
    ) -> None:
        rows, vectors = drawings.rows, drawings.vectors
        dictionary = drawings.dictionary or Dictionary({}, {})
        labels = sorted({row.label["en"] for row in rows if row.everyday})
        keywords = {row.label["en"]: row.keywords.get("en", ()) for row in rows}
        explained = [", ".join((label, *keywords[label][:EXPLAIN])) for label in labels]
        kin = Kin(dictionary, labels)
        keys = {word for row in rows for word in row.keywords["en"]}
        plain = {*teacher.words()}
        if words is None:
            words = {*keys, *plain, *dictionary.words}
        asked = sorted(set(words) - set(labels))
        texts = sorted({text for word in asked for text in (word, *dictionary.explained(word))})
        meant = (teacher.embed(labels) + teacher.embed(explained)) / 2
        cosines = (teacher.embed(texts) @ meant.T).numpy()
        beside = vectors.of(asked) @ vectors.of(labels).T if vectors else np.zeros((len(asked), 1))
        place = {text: n for n, text in enumerate(texts)}
        spelled = np.array([letters(label) for label in labels])
        found: list[tuple[float, Meaning]] = []
        self.same: dict[str, str] = {}
        for word, in_texts in zip(asked, BESIDE_IN_TEXTS * beside, strict=True):
            alone = cosines[place[word]]
            said = [cosines[place[text]] for text in dictionary.explained(word)] or [alone]
            own = 0.5 if plain.issuperset(word.split()) else SPELLED
            in_words = own * alone + (1 - own) * np.mean(said, 0)
            kinship = kin.near(word)
            trusted = (kinship >= KIND) | (spelled == letters(word))
            nearness = in_words + kinship + TRUSTED * trusted + in_texts
            best = int(nearness.argmax())
            commonest = kinship[best] > SAME - LESS_COMMON / 2
            if commonest and (in_words + in_texts).argmax() == best:
                self.same[word] = labels[best]
            found.append((float(nearness[best]), Meaning(word, labels[best])))
        self.sure = [m for score, m in sorted(found, key=lambda one: -one[0]) if score >= near]
        plain -= keys
        self.idle = [m.word for score, m in found if score < near and m.word in plain]
        self.synonyms: dict[str, list[str]] = {}
        for meaning in self.sure:
            self.synonyms.setdefault(meaning.label, []).append(meaning.word)
        self.chinese = {row.label["en"]: [zh] for row in rows if (zh := row.label.get("zh"))}


def letters(text: str) -> str:
    """``wine glass``, ``wine-glass``, ``wineglass``."""
    return re.sub("[ -]", "", text)


def in_english(meaning: Meaning, rng: Rng) -> tuple[str, str]:
    """A prompt with the word, and the same one with the label."""
    return _said(with_article(meaning.word), meaning, rng, chinese=False)


def in_chinese(meaning: Meaning, rng: Rng) -> tuple[str, str]:
    """A prompt in Chinese, and the same one in English."""
    return _said(one_of(rng, ("", "一个", "一只")) + meaning.word, meaning, rng, chinese=True)


def _said(said: str, meaning: Meaning, rng: Rng, *, chinese: bool) -> tuple[str, str]:
    """At times both on a background, at times both in a style."""
    meant = with_article(meaning.label)
    if rng.random() < 0.3:
        colour = one_of(rng, list(BACKGROUNDS))
        said, meant = on_background(said, colour, chinese=chinese), on_background(meant, colour)
    if rng.random() < 0.3:
        style = one_of(rng, list(CHINESE_STYLE))
        said += f"，{CHINESE_STYLE[style]}" if chinese else f", {style}"
        meant += f", {style}"
    return said, meant
