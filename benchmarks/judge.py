"""Does a picture show what was asked? An independent judge names what it sees.

Real drawings of each concept give a prototype: the mean of their features over all styles. A
picture of ``a <label>`` is right if its own concept is the nearest prototype (top-1) or among the
nearest five (top-5), by cosine after the prototypes' mean is taken away. The ceiling is what real
drawings of one style reach against prototypes of all the other styles.

    python -m benchmarks.judge --data drawings.zip --concepts 300 --steps 20 --sheet sheet.png
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.command_line import command_line
from benchmarks.features import FeatureExtractor, Features
from benchmarks.sheet import draw, labelled_sheet
from studio import Studio
from studio.training.dataset import Drawing, Drawings
from studio.training.wording import with_article

MIN_STYLES = 3
"""Fewer styles make no prototype that another style can be held against."""


@dataclass(frozen=True)
class Score:
    """Share of pictures whose concept came first, or among the first five, of ``count``."""

    top1: float
    top5: float
    count: int

    def __str__(self) -> str:
        return f"top-1 {self.top1:.3f}  top-5 {self.top5:.3f}  ({self.count} pictures)"


@dataclass(frozen=True)
class Gallery:
    """Real drawings of the judged concepts.

    Args:
        concepts: what is told apart, in the order of the prototypes.
        labels: the English label of each concept.
        rows: the drawings; ``features`` [N, D] are theirs.
    """

    concepts: tuple[str, ...]
    labels: tuple[str, ...]
    rows: tuple[Drawing, ...]
    features: Features

    def prototypes(self, without_style: str | None = None) -> Features:
        """Mean features [concepts, D] over all styles but one."""
        place = {concept: n for n, concept in enumerate(self.concepts)}
        shown: list[list[Features]] = [[] for _ in self.concepts]
        for row, feature in zip(self.rows, self.features, strict=True):
            if row.style != without_style:
                shown[place[row.concept]].append(feature)
        return np.stack([np.mean(of_one, axis=0, dtype=np.float32) for of_one in shown])

    def places(self, concepts: Iterable[str]) -> list[int]:
        """Index of each of these concepts."""
        place = {concept: n for n, concept in enumerate(self.concepts)}
        return [place[concept] for concept in concepts]


def ranks(features: Features, prototypes: Features, right: Sequence[int]) -> list[int]:
    """How many prototypes are nearer to each picture than its own: 0 is top-1.

    Args:
        features: [N, D] of the pictures.
        prototypes: [concepts, D].
        right: index of the prototype of each picture.
    """
    centre = prototypes.mean(0)
    similar = unit(features - centre) @ unit(prototypes - centre).T
    own = similar[np.arange(len(right)), right][:, None]
    return [int(n) for n in (similar > own).sum(1)]


def score(found: Sequence[int]) -> Score:
    """The score of ranks."""
    places = np.asarray(found)
    return Score(float((places < 1).mean()), float((places < 5).mean()), len(places))


def gallery(
    drawings: Drawings, count: int, extractor: Callable[[Sequence[Image.Image]], Features]
) -> Gallery:
    """Real drawings of ``count`` everyday concepts, those of most styles first.

    Raises:
        ValueError: there are not as many everyday concepts of three styles or more.
    """
    styles: dict[str, set[str]] = {}
    labels: dict[str, str] = {}
    for row in drawings.rows:
        if row.everyday:
            styles.setdefault(row.concept, set()).add(row.style)
            labels.setdefault(row.concept, row.label["en"])
    usable = sorted(concept for concept in styles if len(styles[concept]) >= MIN_STYLES)
    if len(usable) < count:
        raise ValueError(f"{count} concepts asked for, {len(usable)} everyday ones are there")
    random.Random(0).shuffle(usable)
    chosen = tuple(sorted(usable, key=lambda concept: -len(styles[concept]))[:count])
    kept = [n for n, row in enumerate(drawings.rows) if row.concept in set(chosen)]
    pictures = [Image.fromarray(drawings.pixels[n]) for n in kept]
    return Gallery(
        concepts=chosen,
        labels=tuple(labels[concept] for concept in chosen),
        rows=tuple(drawings.rows[n] for n in kept),
        features=extractor(pictures),
    )


def ceiling(real: Gallery) -> dict[str, list[int]]:
    """Ranks of the real drawings of each style among the prototypes of the other styles."""
    found = {}
    for style in sorted({row.style for row in real.rows}):
        shown = [n for n, row in enumerate(real.rows) if row.style == style]
        right = real.places(real.rows[n].concept for n in shown)
        found[style] = ranks(real.features[shown], real.prototypes(style), right)
    return found


def caption(label: str) -> str:
    """``a <label>`` (``an``, or bare plurals), as the drawings' captions say it."""
    return with_article(label)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the ceiling, then the score of the pictures that the model draws."""
    options = _options(arguments)
    extractor = FeatureExtractor()
    real = gallery(Drawings.load(options.data), options.concepts, extractor)
    print(f"{len(real.concepts)} everyday concepts, {len(real.rows)} real drawings")
    best = ceiling(real)
    for style, found in best.items():
        print(f"ceiling  {style:<24} {score(found)}")
    print(f"ceiling  {'all styles':<24} {score([rank for each in best.values() for rank in each])}")
    if options.limit == 0:
        return
    labels = real.labels[: options.limit]
    prompts = [caption(label) for label in labels]
    pictures = draw(prompts, Studio(options.model), seed=options.seed, steps=options.steps)
    found = ranks(extractor(pictures), real.prototypes(), range(len(labels)))
    print(f"drawn    {options.model:<24} {score(found)}")
    if options.sheet:
        places = [f"{place + 1}: {label}" for place, label in zip(found, labels, strict=True)]
        labelled_sheet(pictures, places).save(options.sheet)
        print(f"sheet    {options.sheet} (the number before a label is its place; 1 is right)")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line("judge", __doc__, model=True, data=True)
    parser.add_argument("--concepts", type=int, default=300, help="concepts told apart (300)")
    parser.add_argument("--steps", type=int, help="steps of each picture (the model's own)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every picture (0)")
    parser.add_argument("--limit", type=int, help="draw the first N concepts only; 0: ceiling only")
    parser.add_argument("--sheet", type=Path, help="PNG of all the drawn pictures")
    return parser.parse_args(arguments)


def unit(vectors: Features) -> Features:
    """Each row scaled to length one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float32)
    units: Features = (vectors / lengths.clip(1e-8)).astype(np.float32)
    return units


if __name__ == "__main__":
    main()
