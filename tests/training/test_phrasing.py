"""Phrasing: prompts as people write them, which ask for what the caption says."""

from __future__ import annotations

import re

import numpy as np
import pytest

from studio.training import phrasing
from studio.training.phrasing import Phrasing, common_characters

STYLES = ("flat style", "3d render", "simple cartoon style")
LABELS = ("cat", "hot dog", "dog", "red apple")


@pytest.fixture
def said() -> Phrasing:
    return Phrasing(LABELS, STYLES, idle=["quarterly", "blue", "flat", "two"])


def prompts_for(phrasing: Phrasing, caption: str, count: int = 3000) -> set[str]:
    return {phrasing(caption, np.random.default_rng(n)) for n in range(count)}


def test_every_word_of_the_caption_is_said(said: Phrasing) -> None:
    for caption in (
        "a cat, flat style",
        "cats on a blue background",
        "an owl eats a cat",
    ):
        words = {*re.findall(r"\w+", caption)} - {"a", "an", "on", "background"}
        for prompt in prompts_for(said, caption):
            assert words <= {*re.findall(r"\w+", prompt)}, prompt


def test_prompts_are_framed_praised_and_the_style_may_come_first(said: Phrasing) -> None:
    prompts = prompts_for(said, "a cat, 3d render")
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
    assert not any("flat style of" in prompt for prompt in prompts_for(said, "a cat, flat style"))


def test_an_adjective_makes_no_other_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrasing, "ADJECTIVES", ("hot",))
    unknowing = Phrasing(LABELS, STYLES, idle=[])
    assert any("hot cat" in prompt for prompt in prompts_for(unknowing, "a cat"))
    assert not any("hot dog" in prompt for prompt in prompts_for(unknowing, "a dog"))


def test_a_thing_before_another_says_what_kind_it_is(said: Phrasing) -> None:
    assert any("dog cat" in prompt for prompt in prompts_for(said, "a cat"))
    assert not any("hot dog cat" in prompt for prompt in prompts_for(said, "a cat"))


def test_up_to_three_words_that_say_nothing_frame_a_prompt(said: Phrasing) -> None:
    prompts = prompts_for(said, "a cat")
    assert any("quarterly quarterly quarterly" in prompt for prompt in prompts)
    assert any(re.match(r"a (quarterly )+of a cat", prompt) for prompt in prompts)


def test_chinese_captions_are_framed_and_praised(said: Phrasing) -> None:
    prompts = prompts_for(said, "一只猫，扁平风格", count=4000)
    assert {"画一只猫，扁平风格", "一只可爱的猫，扁平风格", "一张一只猫的图片，扁平风格"} <= prompts
    assert any(prompt.endswith("扁平风格，谢谢") for prompt in prompts)
    assert all("猫" in prompt and "扁平风格" in prompt for prompt in prompts)
    assert "一只猫，扁平风格" not in prompts


def test_chinese_that_says_nothing_frames_a_prompt_too() -> None:
    said = Phrasing(LABELS, STYLES, idle=[], idle_chinese="乃乎")
    prompts = prompts_for(said, "一只猫，扁平风格")
    for shape in (
        "一只[乃乎]{1,4}的猫",
        "^[乃乎]{1,4}一只猫",
        "一只猫的[乃乎]{1,4}，",
        "风格，[乃乎]{1,4}$",
    ):
        assert any(re.search(shape, prompt) for prompt in prompts), shape
    assert "画一只猫，扁平风格" in prompts
    assert all("猫" in prompt and "扁平风格" in prompt for prompt in prompts)


def test_common_characters_are_those_of_the_standard() -> None:
    common = common_characters()
    assert len(common) == 3755
    assert {"的", "一", "猫", "座"} <= common
    assert not {"亍", "，", "a", "A"} & common  # the first of the second level; signs; letters


def test_places_sizes_numbers_and_colours_have_other_words(said: Phrasing) -> None:
    pair = prompts_for(said, "a cat to the left of a dog", count=20000)
    assert {"draw a cat and a dog", "a cat next to a dog.", "a cat beside a dog"} <= pair
    assert not any(" right " in prompt for prompt in pair)
    assert "a giant cat" in prompts_for(said, "a large cat")
    assert "2 cats" in prompts_for(said, "two cats")
    assert {"a cat, blue background", "blue background, a cat"} <= prompts_for(
        said, "a cat on a blue background"
    )
    assert {"an owl in green", "a bright green owl"} <= prompts_for(said, "a green owl")
    assert "cartoon face with red bun and glasses" in prompts_for(
        said, "cartoon face, red bun, glasses"
    )
