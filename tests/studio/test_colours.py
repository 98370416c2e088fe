"""What colour a picture stands on."""

from __future__ import annotations

import pytest
from PIL import Image

from studio.colours import COLOURS, border_colour, plain_background


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("side", [16, 128, 512])
def test_the_border_has_the_colour_of_its_name(name: str, side: int) -> None:
    picture = Image.new("RGB", (side, side), COLOURS[name])
    picture.paste("red", (side // 4, side // 4, side * 3 // 4, side * 3 // 4))
    assert border_colour(picture) == name
    assert plain_background(picture)


def test_only_the_names_given_are_told() -> None:
    assert border_colour(Image.new("RGB", (64, 64), "lightskyblue"), ("red", "blue")) == "blue"


def test_a_thing_that_reaches_the_border_leaves_the_background_plain() -> None:
    picture = Image.new("RGB", (128, 128), "white")
    picture.paste("black", (30, 0, 70, 128))
    assert plain_background(picture)
    assert border_colour(picture) == "white"


def test_a_border_of_many_colours_is_no_plain_background() -> None:
    picture = Image.new("RGB", (128, 128))
    for place, colour in enumerate(("red", "green", "blue", "white")):
        picture.paste(colour, (place * 32, 0, place * 32 + 32, 128))
    assert not plain_background(picture)
