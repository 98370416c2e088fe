"""Ways to ask that training has not, by turns."""

from __future__ import annotations

import re

import pytest

from benchmarks.asking import CHINESE_PHRASES, PHRASES, STYLE_FIRST, otherwise, phrased
from benchmarks.trials import Case, Trial, one_by_one
from studio.training import phrasing
from studio.training.scenes import Scene


def test_things_are_asked_for_in_each_phrase_by_turns() -> None:
    asked = phrased(("draw {a}", "my {label}"), {"cat": "cat", "owl": "owl", "dog": "狗"})
    assert asked == [("draw a cat", "cat"), ("my owl", "owl"), ("draw a 狗", "dog")]


@pytest.mark.parametrize(
    ("name", "prompt", "asked"),
    [
        ("background", "an owl on a light blue background", "an owl, light blue background"),
        ("hue", "a green ice cream", "ice cream in green"),
        ("side", "a cat to the left of an owl", "a cat and an owl"),
        ("size", "a large cat", "an enormous cat"),
        ("count", "three slices of pizza", "3 slices of pizza"),
    ],
)
def test_trials_are_asked_otherwise(name: str, prompt: str, asked: str) -> None:
    case = Case(prompt, Scene("plain", ()), 0)
    other = otherwise(Trial(name, (case,), one_by_one(lambda *_: 0), 2))
    assert (other.name, other.cases[0].prompt) == (f"{name}, otherwise", asked)
    assert other.cases[0].scene == case.scene


def test_the_benchmark_asks_in_other_ways() -> None:
    words = {
        word for group in (
            phrasing.KINDS, phrasing.ASKED, phrasing.DETERMINERS, phrasing.ADJECTIVES,
            phrasing.AFTER, phrasing.DOING, *phrasing.SIZES.values(), *phrasing.BESIDE.values(),
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
