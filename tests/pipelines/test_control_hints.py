from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from studio.pipelines.control_hints import PREPROCESSORS, canny, prepared, scribble
from studio.pipelines.request import Request


def picture(kind: str) -> Image.Image:
    rng = np.random.default_rng(7)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8))
    smooth = coarse.resize((130, 90), Image.Resampling.BICUBIC)
    if kind == "smooth":
        return smooth
    if kind == "noise":
        return Image.fromarray(rng.integers(0, 256, (41, 33, 3), dtype=np.uint8))
    drawn = ImageDraw.Draw(smooth)
    drawn.ellipse((20, 15, 70, 75), outline="black", width=3)
    drawn.line((0, 89, 129, 0), fill="white", width=2)
    return smooth


@pytest.mark.parametrize("kind", ["smooth", "noise", "drawn"])
def test_canny_is_that_of_opencv_bit_for_bit(kind: str) -> None:
    cv2 = pytest.importorskip("cv2")
    levels = np.asarray(picture(kind))
    expected = cv2.Canny(levels, 100, 200)
    assert expected.any()
    np.testing.assert_array_equal(canny(levels), expected)


def test_canny_draws_the_outline_of_a_square_and_nothing_else() -> None:
    levels = np.zeros((20, 20, 3), np.uint8)
    levels[5:15, 5:15] = 255
    edges = canny(levels)
    assert not edges[8:12, 8:12].any()
    assert not edges[:3].any()
    assert ((edges[8:12] == 255).sum(axis=1) == 2).all(), "one pixel on the left, one on the right"
    assert not canny(np.full((8, 8, 3), 90, np.uint8)).any()


def test_a_weak_edge_counts_where_it_goes_on_from_a_strong_one() -> None:
    levels = np.zeros((24, 16, 3), np.uint8)
    levels[:12, 8:] = 200
    levels[12:, 8:] = 35  # 4 * 35 = 140 lies between the two thresholds
    assert canny(levels)[6:20].any(axis=1).all()
    assert not canny(levels[14:]).any()


def test_scribble_finds_dark_strokes_on_something_light() -> None:
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).line((10, 32, 54, 32), fill="black", width=3)
    strokes = scribble(np.asarray(image)) > 0
    assert strokes[31:34, 14:50].all()
    assert not strokes[:20].any()
    assert not strokes[45:].any()


def test_invert_and_none() -> None:
    image = picture("noise")
    assert prepared(image, "none") is image
    np.testing.assert_array_equal(np.asarray(prepared(image, "invert")), 255 - np.asarray(image))


def test_every_preprocessor_that_a_request_knows_makes_rgb_of_the_same_size() -> None:
    image = picture("drawn")
    known = Request.model_json_schema()["properties"]["control_preprocessor"]["enum"]
    assert set(known) == {"none", *PREPROCESSORS}
    for name in known:
        assert (prepared(image, name).mode, prepared(image, name).size) == ("RGB", image.size)
