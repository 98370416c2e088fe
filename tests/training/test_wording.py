"""Captions say what a scene shows, in real English and Chinese."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from studio.training.dataset import Drawing
from studio.training.scenes import Placed, Scene
from studio.training.wording import caption, plural, with_article


def row(label: str, zh: str, hue: int | None = None) -> Drawing:
    return Drawing(
        id=label, concept=label, style="flat", style_words=("flat style",),
        label={"en": label, "zh": zh}, keywords={"en": (), "zh": ()}, group="animals",
        subgroup="animal-mammal", everyday=True, hue=hue, heldout=False,
    )  # fmt: skip


ROWS = (row("fox", "狐狸"), row("red apple", "苹果", 0))


def captions(scene: Scene, chinese: float = 0.0) -> set[str]:
    rng = np.random.default_rng(0)
    return {caption(scene, ROWS, rng, chinese=chinese) for _ in range(200)}


@pytest.mark.parametrize(
    ("noun", "expected"),
    [("fox", "a fox"), ("apple", "an apple"), ("grapes", "grapes"), ("bus", "a bus"),
     ("glass of milk", "a glass of milk"), ("bread", "bread")],
)  # fmt: skip
def test_articles(noun: str, expected: str) -> None:
    assert with_article(noun) == expected


@pytest.mark.parametrize(
    ("noun", "expected"),
    [("cherry", "cherries"), ("box", "boxes"), ("mouse", "mice"), ("leaf", "leaves"),
     ("slice of pizza", "slices of pizza"), ("grapes", "grapes"), ("monkey", "monkeys")],
)  # fmt: skip
def test_plurals(noun: str, expected: str) -> None:
    assert plural(noun) == expected


def test_background_and_style_are_named() -> None:
    said = captions(Scene("background", (Placed(0),), background="blue"))
    assert said == {"a fox on a blue background", "a fox on a blue background, flat style"}


def test_what_has_no_word_for_its_style_goes_without() -> None:
    rows = (replace(ROWS[0], style_words=()),)
    rng = np.random.default_rng(0)
    scene = Scene("background", (Placed(0),), background="blue")
    said = {caption(scene, rows, rng, chinese=0.3) for _ in range(200)}
    assert {"a fox on a blue background"} == {text for text in said if text.isascii()}
    assert not any("，" in text for text in said)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_style_is_named_in_as_many_captions_as_told(share: float) -> None:
    scene, rng = Scene("plain", (Placed(0),)), np.random.default_rng(0)
    said = [caption(scene, ROWS, rng, named=share) for _ in range(400)]
    named = np.mean([text.endswith((", flat style", "，扁平风格")) for text in said])
    assert named == pytest.approx(share, abs=0.08 * (0 < share < 1))


def test_only_the_house_style_goes_unnamed() -> None:
    rows = (row("fox", "狐狸"), replace(row("cat", "猫"), style="noto", style_words=("detailed",)))
    rng = np.random.default_rng(0)

    def share(drawing: int, chinese: float) -> float:
        scene = Scene("plain", (Placed(drawing),))
        said = [caption(scene, rows, rng, chinese=chinese, house_style="flat") for _ in range(400)]
        return (
            sum(text.endswith(("flat style", "detailed", "扁平风格", "细致")) for text in said)
            / 400
        )

    for chinese in (0.0, 1.0):
        assert share(0, chinese) == pytest.approx(0.5, abs=0.1)
        assert share(1, chinese) == pytest.approx(0.95, abs=0.04)


def test_pixel_art_is_named_and_the_style_it_is_made_of_is_not() -> None:
    said = captions(Scene("pixel", (Placed(0),)))
    assert "a fox, pixel art" in said
    assert not any("flat style" in text for text in said)
    assert "狐狸，像素画" in captions(Scene("pixel", (Placed(0),)), chinese=1.0)


def test_a_hue_replaces_the_colour_word_of_the_label() -> None:
    said = captions(Scene("hue", (Placed(1),), hue="green"))
    assert {"a green apple", "a green apple, flat style"} <= said
    assert not any("red" in text for text in said)


def test_pairs_are_told_from_both_sides() -> None:
    scene = Scene("pair", (Placed(0, 0.26), Placed(1, 0.74)), side="left")
    said = captions(scene)
    assert "a fox to the left of a red apple" in said
    assert "a red apple to the right of a fox" in said


def test_counts_are_real_plurals() -> None:
    assert "three foxes" in captions(Scene("count", (Placed(0),) * 3))


def test_chinese() -> None:
    said = captions(Scene("background", (Placed(0),), background="blue"), chinese=1.0)
    assert any(text.startswith("蓝色背景上的") and "狐狸" in text for text in said)
