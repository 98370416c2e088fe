"""Is a thing drawn in the style that the words ask for?"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from PIL import Image

from benchmarks.features import FeatureExtractor, Features
from benchmarks.judge import Gallery, ranks
from benchmarks.trials import Case, Trial, some
from studio.training.scenes import Placed, Scene, SceneMaker
from studio.training.wording import PIXEL_ART, with_article

STYLES = ("fluent-3d", "fluent-flat", "noto", "twemoji", "emojione")
"""Told apart: 3d render, flat style, detailed, simple cartoon style, clip art; and pixel art, which
is made of the first."""
OPTIONS = len(STYLES) + 1


def style_trials(
    maker: SceneMaker, real: Gallery, extract: FeatureExtractor, each: int
) -> tuple[Trial, ...]:
    """Nearest style, after what is common to all drawings of the thing is taken away.

    "style" takes away what real drawings of it have in common: what the model gives all its
    pictures, softness say, then counts as style. "style apart" takes away what the six pictures
    themselves have in common: are they told apart as the words ask? "style new" is as "style", for
    things whose drawing in that style training left out.
    """
    rows = maker.drawings.rows
    prototypes = real.prototypes()
    sets = _sets(maker, real)

    def common(cases: Sequence[Case]) -> Features:
        """What real drawings of each case's thing have in common."""
        concepts = (rows[case.scene.placed[0].drawing].concept for case in cases)
        return prototypes[real.places(concepts)]

    rest = real.features - prototypes[real.places(row.concept for row in real.rows)]
    rng = np.random.default_rng(0)
    pixel_art = [one[-1] for one in sets]
    pictures = [Image.fromarray(maker.picture(case.scene, rng)) for case in pixel_art]
    means = np.stack(
        [
            *(rest[[row.style == style for row in real.rows]].mean(0) for style in STYLES),
            (extract(pictures) - common(pixel_art)).mean(0),
        ]
    ).astype(np.float32)

    def nearest(own: Features) -> list[int]:
        found = [ranks(own, means, [n] * len(own)) for n in range(OPTIONS)]
        return [of_one.index(0) for of_one in zip(*found, strict=True)]

    def alone(pictures: Sequence[Image.Image], cases: Sequence[Case]) -> list[int]:
        return nearest(extract(pictures) - common(cases))

    def apart(pictures: Sequence[Image.Image], cases: Sequence[Case]) -> list[int]:
        features = extract(pictures).reshape(-1, OPTIONS, means.shape[1])
        own = features - features.mean(1, keepdims=True) + means.mean(0)
        return nearest(own.reshape(len(cases), -1))

    cases = [case for one in sets for case in one]
    new = [
        case
        for case in cases
        if case.scene.kind == "plain" and rows[case.scene.placed[0].drawing].heldout
    ]
    chosen = random.Random(0)
    return (
        Trial("style", some(cases, each, chosen), alone, OPTIONS),
        Trial(
            "style apart",
            tuple(case for one in sets[: max(1, each // OPTIONS)] for case in one),
            apart,
            OPTIONS,
        ),
        Trial("style new", some(new, each, chosen), alone, OPTIONS),
    )


def _sets(maker: SceneMaker, real: Gallery) -> list[tuple[Case, ...]]:
    """Every thing that has a drawing in all the styles, asked for in each of them."""
    rows = maker.drawings.rows
    drawing = {(row.concept, row.style): n for n, row in enumerate(rows)}
    words = {row.style: row.style_words[0] for row in rows}

    def looks(concept: str) -> list[tuple[str, Scene]]:
        plain = {style: (Placed(drawing[concept, style]),) for style in STYLES}
        return [
            *((words[style], Scene("plain", placed)) for style, placed in plain.items()),
            (PIXEL_ART[0], Scene("pixel", plain[STYLES[0]])),
        ]

    return [
        tuple(
            Case(f"{with_article(label)}, {word}", scene, answer)
            for answer, (word, scene) in enumerate(looks(concept))
        )
        for concept, label in zip(real.concepts, real.labels, strict=True)
        if all((concept, style) in drawing for style in STYLES)
    ]
