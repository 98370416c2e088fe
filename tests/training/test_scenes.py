"""Scenes are drawn where they say, in the colours they say, without held-out drawings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from studio.training.dataset import Drawings
from studio.training.scenes import Placed, Scene, SceneMaker, SceneMix
from tests.training.drawn import write_drawings


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> SceneMaker:
    path = write_drawings(tmp_path_factory.mktemp("data") / "drawings.zip", side=64)
    return SceneMaker(Drawings.load(path), SceneMix())


def find(maker: SceneMaker, name: str) -> int:
    return [row.id for row in maker.drawings.rows].index(name)


def test_held_out_drawings_are_never_drawn(maker: SceneMaker) -> None:
    rng = np.random.default_rng(0)
    drawn = {placed.drawing for _ in range(400) for placed in maker.draw(rng).placed}
    assert find(maker, "brick-soft") not in drawn
    assert find(maker, "brick-flat") in drawn


def test_the_same_generator_gives_the_same_scene_and_picture(maker: SceneMaker) -> None:
    first = maker.draw(np.random.default_rng(5))
    assert first == maker.draw(np.random.default_rng(5))
    once, again = (maker.picture(first, np.random.default_rng(6)) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_background_colour(maker: SceneMaker) -> None:
    scene = Scene("background", (Placed(find(maker, "ball-flat")),), background="blue")
    red, green, blue = maker.picture(scene, np.random.default_rng(0))[0, 0].astype(int)
    assert blue > red + 80
    assert blue > green + 60


def test_recolouring_turns_a_red_ball_green(maker: SceneMaker) -> None:
    scene = Scene("hue", (Placed(find(maker, "ball-flat")),), hue="green")
    red, green, blue = maker.picture(scene, np.random.default_rng(0))[32, 32].astype(int)
    assert green > red + 80
    assert green > blue + 80


def test_pixel_art_has_few_large_cells(maker: SceneMaker) -> None:
    drawing = (Placed(find(maker, "ball-flat")),)
    rng = np.random.default_rng(0)
    cells = maker.picture(Scene("pixel", drawing), rng).reshape(16, 4, 16, 4, 3)
    assert (cells == cells[:, :1, :, :1]).all()
    plain = maker.picture(Scene("plain", drawing), rng).reshape(16, 4, 16, 4, 3)
    np.testing.assert_allclose(cells[:, 0, :, 0], plain.mean(axis=(1, 3)), atol=24)


def test_sides(maker: SceneMaker) -> None:
    scene = Scene(
        "pair",
        (
            Placed(find(maker, "ball-flat"), 0.26, 0.5, 0.45),
            Placed(find(maker, "box-flat"), 0.74, 0.5, 0.45),
        ),
        side="left",
    )
    picture = maker.picture(scene, np.random.default_rng(0)).astype(int)
    left, right = picture[32, 17], picture[32, 47]
    assert left[0] > left[2]
    assert right[2] > right[0]


def test_counts_do_not_touch(maker: SceneMaker) -> None:
    from scipy import ndimage  # type: ignore[import-untyped]

    count = SceneMix(plain=0, background=0, hue=0, size=0, pair=0, count=1)
    counting = SceneMaker(maker.drawings, count)
    rng = np.random.default_rng(3)
    for _ in range(20):
        scene = counting.draw(rng)
        if scene.background == "white":
            picture = counting.picture(scene, rng)
            _, found = ndimage.label((picture < 235).any(axis=2))
            assert found == len(scene.placed)


def test_drawings_are_mirrored_and_smaller_where_the_mix_says(maker: SceneMaker) -> None:
    mix = SceneMix(
        plain=1, background=0, hue=0, size=0, count=0, pair=0, mirrored=0.5, smallest=0.8
    )
    scenes = [
        SceneMaker(maker.drawings, mix).draw(np.random.default_rng(seed)) for seed in range(200)
    ]
    shown = [placed for scene in scenes for placed in scene.placed]
    assert 0.35 < np.mean([placed.mirrored for placed in shown]) < 0.65
    assert 0.8 <= min(placed.size for placed in shown) < 0.85 < 0.95 < max(p.size for p in shown)
    one = Placed(find(maker, "ball-flat"), x=0.3, size=0.5)
    as_it_is, turned = (
        maker.picture(Scene("plain", (placed,)), np.random.default_rng(0))
        for placed in (one, replace(one, x=0.7, mirrored=True))
    )
    np.testing.assert_allclose(turned[:, ::-1].astype(int), as_it_is, atol=40)


def test_what_points_to_a_side_is_not_mirrored(maker: SceneMaker) -> None:
    rows = tuple(
        replace(row, label={"en": f"{row.label['en']} facing right"}) for row in maker.drawings.rows
    )
    mix = SceneMix(plain=1, background=0, hue=0, size=0, count=0, pair=0, mirrored=1.0)
    sided = SceneMaker(replace(maker.drawings, rows=rows), mix)
    rng = np.random.default_rng(0)
    assert not any(placed.mirrored for _ in range(50) for placed in sided.draw(rng).placed)
