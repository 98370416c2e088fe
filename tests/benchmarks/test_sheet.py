"""The list of prompts and the labelled sheet."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmarks.sheet import PROMPTS, labelled_sheet, read_prompts
from studio.pipelines.request import Request


def test_the_sheet_in_the_docs_has_64_different_prompts_that_can_be_drawn() -> None:
    prompts = read_prompts(PROMPTS)
    assert len(prompts) == len(set(prompts)) == 64
    for prompt in prompts:
        Request.of(prompt=prompt)


def test_comments_and_empty_lines_are_no_prompts(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("# animals\na cat\n\n  a dog \n", encoding="utf-8")
    assert read_prompts(file) == ["a cat", "a dog"]


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (3, 2, 2), (64, 8, 8)])
def test_the_sheet_is_about_square_and_shows_each_picture(
    count: int, columns: int, rows: int
) -> None:
    pictures = [Image.new("RGB", (32, 32), (n, 0, 200)) for n in range(count)]
    sheet = labelled_sheet(pictures, ["a thing"] * count)
    assert sheet.width == columns * 40 + 8
    assert sheet.height == rows * (32 + 2 * 12 + 2 * 8) + 8
    shown = {colour for _, colour in sheet.getcolors(10_000) or []}
    assert {(n, 0, 200) for n in range(count)} <= shown
