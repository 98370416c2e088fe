from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from studio.pipelines import masks
from studio.pipelines.colouring import coloured
from studio.pipelines.fitting import cut, filled, fitted, matched, opaque


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def stripes(width: int, height: int) -> Image.Image:
    """Red, green and blue from left to right."""
    image = Image.new("RGB", (width, height))
    for i, colour in enumerate(["red", "lime", "blue"]):
        image.paste(colour, (width * i // 3, 0, width * (i + 1) // 3, height))
    return image


def pixels(image: Image.Image) -> Any:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_picture_of_the_right_size_is_not_touched(fit: str) -> None:
    image = noise((40, 32))
    assert fitted(image, (40, 32), fit).tobytes() == image.tobytes()


def test_crop_cuts_off_both_sides_alike() -> None:
    result = pixels(fitted(stripes(180, 60), (40, 40), "crop"))
    assert (result[20, 20] == (0, 255, 0)).all()
    assert (result[20, [1, 38]] == (0, 255, 0)).all()


def test_crop_does_not_resample_what_is_only_off_the_grid() -> None:
    image = noise((67, 70))
    assert (pixels(fitted(image, (64, 64), "crop")) == pixels(image)[3:67, 1:65]).all()


def test_pad_shows_all_and_continues_the_edges() -> None:
    result = pixels(fitted(stripes(180, 60), (60, 60), "pad"))
    assert (result[30, [5, 30, 55]] == np.diag([255] * 3)).all()
    assert (result[[18, 41], 30].argmax(axis=-1) == 1).all()
    assert (abs(result[[0, 59]].mean(axis=(0, 1)) - 85) < 40).all()  # of the picture's colours
    mask = pixels(fitted(Image.new("L", (180, 60), 255), (60, 60), "pad"))
    assert (mask[[0, 59]] == 0).all()
    assert (mask[25:35] == 255).all()


def test_stretch_keeps_both_ends() -> None:
    result = pixels(fitted(stripes(180, 60), (60, 60), "stretch"))
    assert (result[30, [2, 30, 57]] == np.diag([255] * 3)).all()


def test_what_is_transparent_shows_white() -> None:
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 255))
    image.putpixel((1, 0), (10, 20, 30, 0))
    assert pixels(opaque(image)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_a_flat_picture_is_continued_flat() -> None:
    result = cut(Image.new("RGB", (21, 13), (200, 90, 31)), (-30, -8, 21 + 16, 13 + 50))
    assert result.size == (67, 71)
    assert (pixels(result) == (200, 90, 31)).all()


def test_a_picture_is_continued_by_its_edge() -> None:
    result = pixels(cut(stripes(60, 40), (-16, 0, 76, 40)))
    assert (result[:, 16:76] == pixels(stripes(60, 40))).all()
    assert (result[20, 15] == (255, 0, 0)).all()
    assert (result[20, 76] == (0, 0, 255)).all()


def test_a_hole_is_filled_from_around_and_nothing_else_changes() -> None:
    image = noise((40, 40))
    image.paste((10, 200, 40), (8, 8, 32, 32))
    hole = Image.new("L", (40, 40), 0)
    hole.paste(255, (14, 14, 26, 26))
    image.paste("magenta", (14, 14, 26, 26))
    result = pixels(filled(image, hole))
    inside = pixels(hole) > 0
    assert (result[~inside] == pixels(image)[~inside]).all()
    assert abs(result[inside] - (10, 200, 40)).max() <= 2


def disc() -> Image.Image:
    mask = Image.new("L", (64, 48), 0)
    ImageDraw.Draw(mask).ellipse((20, 10, 44, 34), fill=255)
    return mask


@pytest.mark.parametrize("feather", [0, 1, 2, 5, 12])
def test_the_feather_is_full_on_the_mask_and_ends_where_it_says(feather: int) -> None:
    levels = pixels(masks.feathered(disc(), feather))
    inside = pixels(disc()) > 0
    assert (levels[inside] == 255).all()
    y, x = np.mgrid[:48, :64]
    spots = np.argwhere(inside)
    away = abs(spots[:, None, None] - np.stack([y, x], axis=-1)).max(axis=-1).min(axis=0)
    assert (levels[away > feather] == 0).all()
    means = [levels[away == d].mean() for d in range(feather + 1)]
    assert means == sorted(means, reverse=True)


def test_latent_cells_follow_their_first_pixel_and_no_mask_is_lost() -> None:
    mask = Image.new("L", (32, 32), 0)
    mask.paste(255, (8, 8, 17, 16))
    assert masks.latent_cells(mask, (4, 4)).nonzero()[:, 2:].tolist() == [[1, 1], [1, 2]]
    thin = Image.new("L", (32, 32), 0)
    thin.paste(255, (9, 0, 10, 32))
    assert masks.latent_cells(thin, (4, 4))[0, 0, :, 1].tolist() == [1.0] * 4


def test_a_speck_of_a_mask_survives_shrinking() -> None:
    speck = Image.new("L", (512, 512), 0)
    speck.putpixel((100, 300), 255)
    found = np.argwhere(pixels(masks.resized(speck, (64, 64))))
    assert found.tolist() == [[37, 12]]


@pytest.mark.parametrize(
    ("spot", "size", "box"),
    [
        ((40, 40, 60, 60), (64, 64), (30, 30, 70, 70)),  # in the middle
        ((0, 0, 20, 20), (64, 64), (0, 0, 30, 30)),  # in the corner: moved inside
        ((40, 45, 60, 55), (128, 64), (20, 35, 80, 65)),  # grown to the proportions
        ((0, 40, 100, 60), (64, 128), (0, -50, 100, 150)),  # larger than the picture
    ],
)
def test_the_box_keeps_the_proportions_and_stays_inside_where_it_can(
    spot: tuple[int, int, int, int], size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    mask = Image.new("L", (100, 100), 0)
    mask.paste(255, spot)
    assert masks.box_around(mask, 10, size) == box


@pytest.mark.parametrize("dim", [1.0, 0.2])
def test_colours_change_no_luma_even_at_the_gamuts_edge(dim: float) -> None:
    grey = noise((64, 64)).convert("L").point(lambda level: int(level * dim)).convert("RGB")
    result = coloured(grey, noise((64, 64), 1))
    assert abs(pixels(result.convert("L")) - pixels(grey.convert("L"))).max() <= 1
    assert (pixels(result).max(axis=-1) - pixels(result).min(axis=-1)).mean() > 30 * dim


def test_what_was_drawn_is_moved_to_meet_the_original_at_the_rim() -> None:
    original = Image.new("RGB", (96, 64), (150, 200, 240))
    hole = Image.new("L", (96, 64), 0)
    hole.paste(255, (64, 0, 96, 64))
    drawn = Image.new("RGB", (96, 64), (170, 190, 240))  # a flat colour that is a little off
    drawn.paste((90, 40, 40), (84, 20, 96, 50))  # and something in it
    result = pixels(matched(drawn, original, hole))
    assert abs(result[:, 60:70] - (150, 200, 240)).max() <= 1
    assert abs(result[30, 90] - (70, 50, 40)).max() <= 3
