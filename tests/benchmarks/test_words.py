"""Ways to ask for things in other words, and how often they are named."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from benchmarks.judge import Gallery
from benchmarks.words import Namer, ways


def test_every_way_asks_for_known_things_only() -> None:
    asked = ways(("dog", "cat", "gizmo"), {"dog": "狗", "cat": "猫"}, each=1)
    assert asked["Chinese"] == [("一个狗", "dog")]
    assert asked["plurals"] == [("dogs", "dog")]
    assert ("a pup", "dog") in asked["synonyms"]
    assert {label for _, label in asked["synonyms"]} == {"dog", "cat"}
    assert all(label == "dog" for way in asked for _, label in asked[way] if way != "synonyms")


class _Artist:
    """Draws cats as white, all else as black; with ``blind`` everything black."""

    def __init__(self, *, blind: bool = False) -> None:
        self.blind = blind

    def draw(self, prompts: list[str]) -> list[Image.Image]:
        white = ["cat" in prompt and not self.blind for prompt in prompts]
        return [Image.new("L", (1, 1), 255 if one else 0) for one in white]


def test_a_prompt_is_named_in_the_share_of_seeds_that_show_its_thing() -> None:
    def extract(pictures: Any) -> Any:
        level = np.array([picture.getpixel((0, 0)) / 255 for picture in pictures], np.float32)
        return np.stack([level, 1 - level], 1)

    rows: Any = [type("Row", (), {"concept": name, "style": "s"}) for name in ("cat", "dog")]
    real = Gallery(("cat", "dog"), ("cat", "dog"), tuple(rows), np.eye(2, dtype=np.float32))
    artists: Any = [_Artist(), _Artist(blind=True)]
    asked = [("a cat", "cat"), ("a dog", "dog"), ("a kitty cat", "dog")]
    assert Namer(real, extract, artists).named(asked).tolist() == [0.5, 1.0, 0.5]
