"""Icons of one colour are joined by name, packed with the drawings, and painted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from studio.training.data_recipe import IconSet
from studio.training.dataset import Drawings
from studio.training.drawings import prepare
from studio.training.painting import SILHOUETTE, WAYS, painted, palette, smaller, with_silhouettes
from studio.training.silhouettes import Silhouettes
from tests.training.drawn import write_drawings
from tests.training.packages import write_icons, write_packages

GREEN, BLUE, RED = (0, 128, 0), (0, 0, 255), (255, 0, 0)


def made(folder: Path, family: str = "") -> Drawings:
    """The tiny recipe with a set of icons whose family is ``family``."""
    pytest.importorskip("resvg_py")
    recipe = write_packages(folder / "cache")
    with_icons = recipe.model_copy(
        update={
            "packages": (*recipe.packages, write_icons(folder / "cache")),
            "silhouettes": (IconSet(package="icons", family=family),),
            "silhouette_side": 16,
            "heldout": 1.0,
        }
    )
    prepare(with_icons, folder / "d.zip", cache=folder / "cache", processes=1)
    return Drawings.load(folder / "d.zip")


def test_names_say_what_icons_show_whatever_they_say_of_how(tmp_path: Path) -> None:
    silhouettes = made(tmp_path).silhouettes
    assert silhouettes
    # "cat", "cat-outline" and "cat-solid-2"; the fourth of one thing is left out, as is "chair".
    assert silhouettes.concepts == ("1F408", "1F408", "1F408", "1F680")
    assert silhouettes.alphas.shape == (4, 16, 16)
    covered = silhouettes.alphas[0] > 127
    assert covered[8, 1:15].all()
    assert not covered[:4].any()
    assert not covered[12:].any()


def test_icons_of_a_family_that_is_held_out_are_left_out(tmp_path: Path) -> None:
    silhouettes = made(tmp_path, "one").silhouettes
    assert silhouettes
    assert silhouettes.concepts == ()
    assert silhouettes.alphas.shape == (0, 16, 16)


def test_any_number_of_silhouettes_comes_back_as_it_was() -> None:
    rng = np.random.default_rng(0)
    for count in (0, 1, 64, 65):
        alphas = rng.integers(0, 256, (count, 8, 8), np.uint8)
        whole = Silhouettes(tuple(map(str, range(count))), alphas)
        again = Silhouettes.from_members(*whole.to_members().values())
        assert again.concepts == whole.concepts
        np.testing.assert_array_equal(again.alphas, alphas)


def ring() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A frame of lines that encloses two rooms."""
    cover = np.zeros((24, 24), np.uint8)
    cover[4:20, 4:20] = 255
    cover[7:17, 7:11] = cover[7:17, 13:17] = 0
    return cover


def test_lines_keep_their_colour_and_enclose_others() -> None:
    colours = np.array([GREEN, BLUE, RED], np.uint8)
    rng = np.random.default_rng(0)
    flat = painted(ring(), colours, 0, rng)
    assert (flat[..., 3] == ring()).all()
    assert (flat[ring() == 255][:, :3] == GREEN).all()
    filled = painted(ring(), colours, 1, rng)
    assert filled[4:20, 4:20, 3].min() == 255
    assert not filled[:4, :, 3].any()
    for room in (filled[7:17, 7:11], filled[7:17, 13:17]):
        assert (room[..., :3] == BLUE).all()
    differ = [painted(ring(), colours, 2, np.random.default_rng(n)) for n in range(20)]
    assert any((one[10, 8] != one[10, 14]).any() for one in differ)


def test_what_encloses_nothing_has_one_colour() -> None:
    cover = np.zeros((24, 24), np.uint8)
    cover[4:20, 4:20] = 255
    for way in range(WAYS):
        seen = painted(cover, np.array([GREEN, BLUE], np.uint8), way, np.random.default_rng(way))
        assert len(np.unique(seen[cover == 255], axis=0)) == 1


def test_a_palette_is_made_of_what_is_seen() -> None:
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[..., :3] = RED  # clear, so it does not count
    picture[2:6, 2:6] = (*BLUE, 255)
    picture[2:4, 2:4] = (*GREEN, 255)
    assert {tuple(colour) for colour in palette(picture).tolist()} == {BLUE, GREEN}
    assert len(palette(np.zeros((8, 8, 4), np.uint8))) == 1


def test_painted_silhouettes_stand_beside_the_drawings(tmp_path: Path) -> None:
    drawings = Drawings.load(write_drawings(tmp_path / "d.zip"))
    assert with_silhouettes(drawings, np.random.default_rng(0)) is drawings
    concepts = (drawings.rows[0].concept, "unknown")
    known = replace(drawings, silhouettes=Silhouettes(concepts, np.stack([ring(), ring()])))
    whole = with_silhouettes(smaller(known, 16), np.random.default_rng(0))
    added = whole.rows[len(drawings.rows) :]
    assert whole.pixels.shape == (len(whole.rows), 16, 16, 4)
    assert [row.label["en"] for row in added] == [drawings.rows[0].label["en"]] * WAYS
    assert {row.style for row in added} == {SILHOUETTE}
    assert not any(row.style_words or row.heldout for row in added)
    assert len({row.id for row in whole.rows}) == len(whole.rows)


def test_smaller_drawings_keep_their_edges_colours(tmp_path: Path) -> None:
    drawings = Drawings.load(write_drawings(tmp_path / "d.zip"))
    half = smaller(drawings, 16)
    assert smaller(half, 16) is half
    for before, after in zip(drawings.pixels, half.pixels, strict=True):
        seen = after[after[..., 3] > 30][:, :3].astype(int)
        assert np.abs(seen - before[16, 16, :3]).max() <= 6  # nothing clear and black bled in
