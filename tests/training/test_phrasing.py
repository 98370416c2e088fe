"""Phrasing: prompts as people write them, which ask for what the caption says."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.obedience import CHINESE_PHRASES, PHRASES, STYLE_FIRST
from studio.training import phrasing
from studio.training.phrasing import Phrasing, places

STYLES = ("flat style", "3d render", "simple cartoon style")
LABELS = ("cat", "hot dog", "dog", "red apple")


@pytest.fixture
def said() -> Phrasing:
    return Phrasing(LABELS, STYLES, idle=["quarterly", "blue", "flat", "two"])


def english(phrasing: Phrasing, caption: str, count: int = 400) -> set[str]:
    return {phrasing(caption, np.random.default_rng(n)) for n in range(count)}


def test_every_word_of_the_caption_is_said(said: Phrasing) -> None:
    for caption in (
        "a cat, flat style",
        "three cats on a blue background",
        "an owl to the left of a cat",
    ):
        words = {*re.findall(r"\w+", caption)} - {"a", "an"}
        for prompt in english(said, caption):
            assert words <= {*re.findall(r"\w+", prompt)}, prompt


def test_prompts_are_framed_praised_and_the_style_may_come_first(said: Phrasing) -> None:
    prompts = english(said, "a cat, 3d render", 3000)
    assert len(prompts) > 1000
    assert {
        "a 3d render of a cat",
        "3d render, a cat",
        "a cat in a 3d render",
        "a 3d render cat",
    } <= prompts
    assert "draw me a cat, 3d render" in prompts
    assert any(prompt.startswith("a quarterly cat") for prompt in prompts)
    assert not any("flat" in prompt or "blue" in prompt or " two " in prompt for prompt in prompts)


def test_only_pictures_are_made_of_things(said: Phrasing) -> None:
    assert not any("flat style of" in prompt for prompt in english(said, "a cat, flat style"))


def test_an_adjective_makes_no_other_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrasing, "ADJECTIVES", ("hot",))
    unknowing = Phrasing(LABELS, STYLES, idle=[])
    assert any("hot cat" in prompt for prompt in english(unknowing, "a cat"))
    assert not any("hot dog" in prompt for prompt in english(unknowing, "a dog"))


def test_chinese_captions_are_framed_and_praised(said: Phrasing) -> None:
    prompts = {said("一只猫，扁平风格", np.random.default_rng(n)) for n in range(400)}
    assert {"画一只猫，扁平风格", "一只可爱的猫，扁平风格", "一张一只猫的图片，扁平风格"} <= prompts
    assert all("猫" in prompt and "扁平风格" in prompt for prompt in prompts)
    assert "一只猫，扁平风格" not in prompts


@pytest.mark.parametrize(
    ("said", "meant", "found"),
    [
        ("draw a cat", "a cat", [-1, 0, 1]),
        ("a cute cat", "a cat", [0, -1, 1]),
        ("the cat", "a cat", [-1, 1]),
        ("flat style cat", "a cat , flat style", [3, 4, 1]),
        ("flat style , a cat", "a cat , flat style", [3, 4, 2, 0, 1]),
        ("a 3d render of a cat", "a cat , 3d render", [0, 3, 4, -1, -1, 1]),
        ("a dog", "a cat", None),
        ("a cat", "a cat , flat style", None),
    ],
)  # fmt: skip
def test_tokens_are_found_wherever_they_stand(
    said: str, meant: str, found: Sequence[int] | None
) -> None:
    got = places(said.split(), meant.split(), {"a", ","})
    if said == "a 3d render of a cat":  # which article is which says nothing
        assert got in (found, [-1, 3, 4, -1, 0, 1])
    else:
        assert got == found


def test_the_benchmark_asks_in_other_ways() -> None:
    words = {
        word for group in (
            phrasing.KINDS, phrasing.ASKED, phrasing.DETERMINERS, phrasing.ADJECTIVES,
            phrasing.AFTER, phrasing.DOING,
        ) for phrase in group for word in phrase.split()
    }  # fmt: skip
    for phrase in PHRASES:
        new = {*re.findall(r"[a-z]+", phrase)} - words - {"a", "label"}
        assert new, phrase
    for phrase in CHINESE_PHRASES:
        rest = phrase.replace("{label}", "").replace("一个", "")
        assert not any(one in rest for one in phrasing.ADJECTIVES_CHINESE if one)
        assert rest not in phrasing.BEFORE_CHINESE
    assert all("{a}" in phrase or "{label}" in phrase for phrase in (*PHRASES, *STYLE_FIRST))
