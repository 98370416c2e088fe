"""The judge, on features that are made up so that the right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.features import Features
from benchmarks.judge import Gallery, Score, caption, ceiling, gallery, ranks, score
from studio.training.dataset import Drawing, Drawings

STYLES = ("flat", "round", "deep")


def drawing(concept: str, style: str, *, everyday: bool = True) -> Drawing:
    return Drawing(
        id=f"{concept}-{style}",
        concept=concept,
        style=style,
        style_words=(),
        label={"en": concept},
        keywords={},
        group="",
        subgroup="",
        everyday=everyday,
        hue=None,
        heldout=False,
    )


def array(values: list[list[int]] | list[int]) -> Features:
    return np.asarray(values, np.float32)


def real(features: Features) -> Gallery:
    """Two concepts in three styles, the styles of a concept in turn."""
    rows = tuple(drawing(concept, style) for concept in ("cat", "key") for style in STYLES)
    return Gallery(("cat", "key"), ("cat", "key"), rows, features)


def test_a_prototype_is_the_mean_over_the_styles_but_the_one_left_out() -> None:
    features = array([[1, 0], [3, 0], [5, 0], [0, 2], [0, 4], [0, 9]])
    assert real(features).prototypes().tolist() == [[3, 0], [0, 5]]
    assert real(features).prototypes("deep").tolist() == [[2, 0], [0, 3]]


def test_the_rank_counts_the_nearer_prototypes() -> None:
    prototypes = array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    pictures = array([[5, 1, 0], [5, 1, 0], [5, 1, 0]])
    assert ranks(pictures, prototypes, [0, 1, 2]) == [0, 1, 2]


def test_what_all_prototypes_share_does_not_count() -> None:
    prototypes = array([[1, 0], [0, 1]])
    shifted = [100, -40]
    pictures = array([[1, 0], [0, 1]])
    found = ranks(pictures + array(shifted), prototypes + array(shifted), [0, 1])
    assert found == [0, 0]


def test_the_score_is_the_share_of_first_and_of_first_five() -> None:
    assert score([0, 0, 3, 4, 5, 200, 0, 1]) == Score(top1=3 / 8, top5=6 / 8, count=8)


def test_the_ceiling_judges_a_style_by_the_others() -> None:
    # The flat key looks like a cat, and only the flat cat and key would say otherwise.
    features = array([[9, 1], [9, 1], [9, 1], [9, 1], [1, 9], [1, 9]])
    assert ceiling(real(features)) == {"deep": [0, 0], "flat": [0, 1], "round": [0, 0]}


def pixels(count: int) -> Drawings:
    rows = tuple(
        drawing(f"thing {n}", style, everyday=n != 1)
        for n in range(count)
        for style in STYLES[: 2 if n == 2 else 3]
    )
    return Drawings(rows, np.zeros((len(rows), 4, 4, 4), np.uint8))


def test_the_gallery_takes_everyday_concepts_of_enough_styles() -> None:
    chosen = gallery(pixels(6), 4, lambda pictures: np.zeros((len(pictures), 2), np.float32))
    assert set(chosen.concepts) == {"thing 0", "thing 3", "thing 4", "thing 5"}
    assert len(chosen.rows) == len(chosen.features) == 12


def test_too_few_concepts_are_an_error() -> None:
    with pytest.raises(ValueError, match="5 concepts asked for, 4"):
        gallery(pixels(6), 5, lambda pictures: np.zeros((len(pictures), 2), np.float32))


def test_a_caption_says_the_label() -> None:
    assert caption("red apple") == "a red apple"
    assert caption("umbrella") == "an umbrella"
