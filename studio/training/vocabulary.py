"""Other words for what mini can draw: its tokenizer reads each as the label that it means.

``two stallions`` are read as ``two horses``, and ``a sedan`` as ``an automobile``, so the text
tower and the U-Net, which stay as they are, draw from the other word just what they draw from the
label. Words that captions hold are left alone where captions have them: the tower has learned those
itself. Where they do not, what is the very same as a label is read as it: ``a red car`` as ``a red
automobile``, but not ``a railway car``.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from studio.errors import StudioError
from studio.training.clip import load_text
from studio.training.dataset import Drawings
from studio.training.meanings import Meaning, Meanings, letters
from studio.training.options import TrainOptions
from studio.training.recipe import Frozen, own_recipe, read
from studio.training.scenes import BACKGROUNDS, HUES, Rng, SceneMaker, SceneMix
from studio.training.teacher import Teacher
from studio.training.tokens import Elsewhere, reading
from studio.training.wording import LARGE, SMALL, caption, plural, with_article

_ADJECTIVES = {*BACKGROUNDS, *HUES, *SMALL, *LARGE}
"""They are drawn: a ``blue tulip`` must not be read as a tulip."""


class VocabularyRecipe(Frozen):
    """Recipe of the vocabulary.

    Attributes:
        clip: folder that holds ``text_encoder/`` and ``tokenizer/``.
        near: how sure it must be what a word means (see :class:`Meanings`).
        captions: how many are drawn, from ``seed``, to find what words captions hold.
        looks, kinds_of_look: words that say how a picture looks and is made, not what it shows,
            and what the dictionary has such words as kinds of; they are left as they are.
    """

    mix: SceneMix = SceneMix()
    clip: Path = Path("runs/words/weights")
    near: float = 0.5
    captions: int = 20000
    seed: int = 0
    looks: frozenset[str] = frozenset()
    kinds_of_look: frozenset[str] = frozenset()


def readings(
    meanings: Iterable[Meaning], said: AbstractSet[str], same: Container[str] = ()
) -> dict[str, str]:
    """Phrases that captions do not hold, and what each is read as.

    Args:
        meanings: the surest first, which goes first where two are spelled alike.
        said: what captions hold.
        same: words that are the very same as a label.
    """
    found: dict[str, str] = {}
    for meaning in meanings:
        if not _ADJECTIVES.isdisjoint(re.split("[ -]", meaning.word)):
            continue
        for word in _spellings(meaning.word):
            known = word in said and word not in same
            for phrase, text in _forms(word, meaning.label, known=known):
                if phrase not in said:
                    found.setdefault(phrase, text)
    return found


def _forms(word: str, label: str, *, known: bool) -> Iterator[tuple[str, str]]:
    """The plural; unless it is known the word, and with its article where the label's differs."""
    if plural(word) != word:
        yield plural(word), plural(label)
    if known:
        return
    yield word, label
    article = with_article(word).split()[0]
    if article in ("a", "an") and article != with_article(label).split()[0]:
        yield with_article(word), with_article(label)


def elsewhere(
    same: Mapping[str, str], said: AbstractSet[str], names: Iterable[str]
) -> Iterator[Elsewhere]:
    """Words that captions hold and that are the very same as a label, where captions do not.

    Args:
        names: labels and keywords: ``pickup`` stays as it is in a ``pickup truck``.
    """
    plurals = set(map(plural, same.values()))
    words = {word for word in same.keys() & said if " " not in word} - _ADJECTIVES - plurals
    behind = _neighbours(said, words)
    before = _neighbours((" ".join(reversed(name.split())) for name in names), words)
    for word in sorted(words):
        yield Elsewhere(word, same[word], frozenset(behind[word]), frozenset(before[word]))


def _neighbours(phrases: Iterable[str], words: Iterable[str]) -> dict[str, set[str]]:
    """What stands right before each of the words in the phrases."""
    found: dict[str, set[str]] = {word: set() for word in words}
    for phrase in phrases:
        for first, second in pairwise(phrase.split()):
            if second in found:
                found[second].add(first)
    return found


def _spellings(word: str) -> Iterator[str]:
    """``push-bike``, ``push bike``, ``pushbike``."""
    yield from dict.fromkeys((word, word.replace("-", " "), letters(word)))


def spoken(maker: SceneMaker, count: int, rng: Rng) -> set[str]:
    """Drawn captions and what they are made of: as a whole, all words, all two side by side."""
    rows = maker.drawings.rows
    texts = {caption(maker.draw(rng), rows, rng, chinese=0.0) for _ in range(count)}
    for row in rows:
        label = row.label["en"]
        texts |= {label, plural(label), *row.keywords.get("en", ()), row.subgroup}
    said: set[str] = set()
    for text in texts:
        for word in (r"\w+", r"[\w'-]+"):
            words = re.findall(word, text.lower())
            said |= {*words, *map(" ".join, pairwise(words)), " ".join(words)}
    return said


def run(options: TrainOptions) -> None:
    """``studio train vocabulary``: the text tower and a tokenizer that knows other words."""
    recipe = read(
        VocabularyRecipe, options.recipe or own_recipe("vocabulary"), "recipe", options.overrides
    )
    if options.data is None:
        raise StudioError("Words need drawings.", valid="--data FILE (studio train data)")
    folder = options.init_from or recipe.clip
    if not (folder / "text_encoder").exists():
        raise StudioError(f"There is no text tower at {folder}.", valid="--set clip=FOLDER")
    maker = SceneMaker(Drawings.load(options.data), recipe.mix)
    dictionary, rows = maker.drawings.dictionary, maker.drawings.rows
    if dictionary is None:
        raise StudioError(f"{options.data} holds no dictionary.", valid="studio train data")
    tower, tokenizer = load_text(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    things = {
        word for word in dictionary.words if recipe.kinds_of_look.isdisjoint(dictionary.kinds(word))
    }
    found = Meanings(maker.drawings, Teacher(device), recipe.near, things)
    said = spoken(maker, recipe.captions, np.random.default_rng(recipe.seed))
    said |= recipe.looks | set(map(plural, recipe.looks))
    names = {name for row in rows for name in (row.label["en"], *row.keywords.get("en", ()))}
    names |= set(map(plural, names))
    same = {word: label for word, label in found.same.items() if word not in recipe.looks}
    meant = readings(found.sure, said, same)
    also = tuple(elsewhere(same, said, names))
    weights = options.out / "weights"
    tower.save_pretrained(weights / "text_encoder")
    reading(tokenizer, meant, also).save_pretrained(weights / "tokenizer")
    others = len(set(meant.values()))
    print(
        f"{len(meant)} phrases are read as {others} others, {len(also)} words at times", flush=True
    )
