"""Alignment: where the tokens of a prompt stand in the caption that asks for the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from studio.training.alignment import places, places_in_chinese


@pytest.mark.parametrize(
    ("said", "meant", "found"),
    [
        ("draw a cat", "a cat", [-1, 0, 1]),
        ("a cute cat", "a cat", [-1, -1, 1]),
        ("flat style cat", "a cat , flat style", [3, 4, 1]),
        ("flat style , a cat", "a cat , flat style", [3, 4, -1, 0, 1]),
        ("a 3d render of a cat", "a cat , 3d render", [-1, 3, 4, -1, 0, 1]),
        ("a giant cat", "a large cat", [-1, 1, 2]),
        ("the giant cat", "a large cat", [-1, 1, 2]),
        ("a cat and a dog", "a cat to the left of a dog", [0, 1, 4, 6, 7]),
        ("dog", "cat", [0]),
        ("a cat", "a cat , flat style", None),
        ("cat a dog", "a big dog cat", None),
    ],
)  # fmt: skip
def test_tokens_are_found_wherever_they_stand(
    said: str, meant: str, found: Sequence[int] | None
) -> None:
    assert places(said.split(), meant.split(), {"a", ",", "to", "the", "of"}) == found


@pytest.mark.parametrize(
    ("said", "meant", "found"),
    [
        ("画 一只 猫", "一只 猫", [-1, 0, 1]),
        ("一只 可爱 的猫", "一只 猫", [0, -1, 1]),
        ("画 苹 果 的 画", "苹果", [-1, 0, 0, -1, -1]),
        ("红色的 苹果 的图", "红色的 苹果", [0, 1, -1]),
        ("可爱 的猫", "一只 猫", [-1, 1]),
        ("猫在", "猫 在", None),
        ("一只 å¥½ åķĨ", "一只 åķĨ", [0, -1, 1]),  # 好 and 商 as bytes, which begin alike
        ("狗", "猫", None),
    ],
)
def test_chinese_tokens_are_found_in_part(
    said: str, meant: str, found: Sequence[int] | None
) -> None:
    assert places_in_chinese(said.split(), meant.split(), {"一只"}) == found
