"""What the programs see in pictures whose content is known."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from benchmarks.checks import (
    extent,
    half,
    nearest_drawing,
    nearest_hue,
    on_cells,
    parts,
)
from studio.training.scenes import HUES


def drawn(*boxes: tuple[int, int, int, int], colour: str = "red", ground: str = "white") -> (
    Image.Image
):  # fmt: skip
    picture = Image.new("RGB", (128, 128), ground)
    for box in boxes:
        ImageDraw.Draw(picture).rectangle(box, fill=colour)
    return picture


@pytest.mark.parametrize(("colour", "hue"), [("#e02020", "red"), ("#30b040", "green"),
                                             ("#2060e0", "blue"), ("#ff40a0", "pink")])  # fmt: skip
def test_the_hue_of_what_is_drawn(colour: str, hue: str) -> None:
    hues = list(HUES)
    assert hues[nearest_hue(drawn((20, 20, 90, 90), colour=colour), hues)] == hue
    assert nearest_hue(drawn((20, 20, 90, 90), colour="gray"), hues) == -1


def test_parts_are_counted_without_specks() -> None:
    three = drawn((5, 5, 40, 40), (70, 5, 110, 40), (40, 70, 80, 110), (120, 120, 122, 122))
    assert parts(three) == 3
    assert parts(drawn()) == 0


def test_the_extent_is_the_larger_side_without_specks() -> None:
    assert extent(drawn((32, 48, 95, 79), (2, 2, 4, 4))) == pytest.approx(0.5)
    assert extent(drawn()) == 0


def test_halves_show_their_own_side() -> None:
    picture = drawn((10, 40, 50, 80), colour="blue")
    picture.paste("green", (70, 40, 110, 80))
    seen = [{name for _, name in half(picture, side).getcolors() or []} for side in (0, 1)]
    assert (0, 0, 255) in seen[0]
    assert (0, 128, 0) not in seen[0]
    assert (0, 128, 0) in seen[1]
    assert (0, 0, 255) not in seen[1]


def test_pixel_art_is_what_changes_on_the_borders_of_cells() -> None:
    smooth = drawn((32, 48, 95, 79), (3, 3, 20, 20)).rotate(30, fillcolor="white")
    cells = smooth.resize((16, 16)).resize((128, 128), Image.Resampling.NEAREST)
    assert on_cells(cells, 16)
    assert on_cells(cells.filter(ImageFilter.GaussianBlur(1)), 16)
    assert not on_cells(smooth, 16)
    assert not on_cells(drawn(), 16)


def test_the_nearest_drawing_may_be_mirrored_and_soft() -> None:
    left, top = drawn((10, 30, 60, 90)), drawn((30, 10, 90, 60))
    soft = ImageOps.mirror(left).filter(ImageFilter.GaussianBlur(4))
    assert nearest_drawing(soft, [top, left]) == 1
    assert nearest_drawing(top, [top, left]) == 0
