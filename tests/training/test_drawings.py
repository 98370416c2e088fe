"""A recipe of local packages becomes one file of pictures and captions, the same every time."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from studio.errors import StudioError
from studio.training.data_recipe import DataRecipe
from studio.training.dataset import Drawings
from studio.training.drawings import is_heldout, prepare
from studio.training.rendering import dominant_hue
from tests.training.packages import write_dictionary, write_packages, write_vectors

pytest.importorskip("resvg_py")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataRecipe, Path]:
    cache = tmp_path_factory.mktemp("cache")
    return write_packages(cache), cache


@pytest.fixture(scope="module")
def made(recipe: tuple[DataRecipe, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "drawings.zip"
    prepare(recipe[0], out, cache=recipe[1], processes=1)
    return out


def test_captions_are_joined_by_code_point(made: Path) -> None:
    rows = {row.id: row for row in Drawings.load(made).rows}
    assert sorted(rows) == ["flat-1f408", "flat-1f600", "flat-1f680", "photo-1f408"]
    cat = rows["flat-1f408"]
    assert cat.label == {"en": "cat", "zh": "猫"}
    assert cat.keywords == {"en": ("pet", "house pet"), "zh": ("宠物",)}
    assert (cat.concept, cat.style, cat.style_words) == ("1F408", "flat", ("plain",))
    assert (cat.group, cat.subgroup, cat.everyday) == ("animals", "mammal", True)
    assert not rows["flat-1f600"].everyday


def test_the_subject_fills_the_middle_and_the_rest_is_clear(made: Path) -> None:
    drawings = Drawings.load(made)
    assert drawings.pixels.shape == (4, 32, 32, 4)
    cat = drawings.pixels[[row.id for row in drawings.rows].index("flat-1f408")]
    alpha = cat[..., 3]
    assert alpha[16, 1:31].min() == 255
    assert not alpha[:, [0, 31]].any()
    assert not alpha[[0, 7, 24, 31]].any()
    np.testing.assert_array_equal(cat[16, 16], [255, 0, 0, 255])
    assert not cat[alpha == 0].any()


def test_hues_are_told_for_one_colour_only(made: Path) -> None:
    hues = {row.id: row.hue for row in Drawings.load(made).rows}
    assert hues["flat-1f408"] == 0
    assert hues["flat-1f680"] == 240
    assert hues["flat-1f600"] is None
    two = np.full((4, 4, 4), 255, np.uint8)
    two[:2, :, :3], two[2:, :, :3] = (255, 0, 0), (0, 255, 0)
    assert dominant_hue(two) is None


def test_a_drawing_of_nothing_is_reported_not_kept(
    recipe: tuple[DataRecipe, Path], tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    summary = prepare(
        recipe[0],
        tmp_path / "a.zip",
        cache=recipe[1],
        processes=1,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert summary.broken == ("flat-1f5fa",)
    assert summary.per_style == {"flat": 3, "photo": 1}
    assert (summary.drawings, summary.concepts, summary.everyday) == (4, 3, 2)
    assert seen == [(n, 5) for n in range(1, 6)]


def test_the_same_recipe_gives_the_same_bytes(
    recipe: tuple[DataRecipe, Path], made: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.zip"
    prepare(recipe[0], again, cache=recipe[1], processes=2)
    assert again.read_bytes() == made.read_bytes()


def test_the_file_names_whom_to_thank_and_what_was_used(made: Path) -> None:
    with zipfile.ZipFile(made) as archive:
        for info in archive.infolist():
            stored = info.compress_type == zipfile.ZIP_STORED
            assert stored == info.filename.endswith(".webp")  # which is small as it is
        assert "- `shapes@1.0.0`: shapes by us (MIT)" in archive.read("credits.md").decode()
        assert archive.read("recipe.yaml").decode().count("sha256: ") == 4


def test_dictionary_and_word_vectors_travel_with_the_drawings(
    recipe: tuple[DataRecipe, Path], made: Path, tmp_path: Path
) -> None:
    whole, cache = recipe
    packages = (*whole.packages, write_dictionary(cache), write_vectors(cache))
    with_words = whole.model_copy(
        update={"packages": packages, "dictionary": "nouns", "vectors": "near"}
    )
    prepare(with_words, tmp_path / "d.zip", cache=cache, processes=1)
    drawings = Drawings.load(tmp_path / "d.zip")
    assert drawings.dictionary
    assert drawings.vectors
    dictionary = drawings.dictionary
    assert [dictionary.explained(word) for word in dictionary.words] == [("puss, cat",)]
    # Words of labels, keywords and the dictionary; "pet" and "house" have no vector.
    assert sorted(drawings.vectors.place) == ["cat", "puss", "rocket"]
    without = Drawings.load(made)
    assert without.dictionary is None
    assert without.vectors is None


def test_a_broken_dictionary_is_refused_before_anything_is_drawn(
    recipe: tuple[DataRecipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cache = recipe
    broken = whole.model_copy(update={"dictionary": "shapes"})
    monkeypatch.setattr("studio.training.drawings.render", lambda _: pytest.fail("it drew"))
    with pytest.raises(StudioError, match="shapes"):
        prepare(broken, tmp_path / "d.zip", cache=cache, processes=1)


def test_alpha_is_exact_where_colours_are_lossy(
    recipe: tuple[DataRecipe, Path], made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "lossy.zip"
    prepare(recipe[0].model_copy(update={"quality": 60}), out, cache=recipe[1], processes=1)
    exact, lossy = Drawings.load(made).pixels, Drawings.load(out).pixels
    np.testing.assert_array_equal(exact[..., 3], lossy[..., 3])


def test_aliases_numbers_and_exclusions_decide_what_an_icon_shows(
    recipe: tuple[DataRecipe, Path], tmp_path: Path
) -> None:
    flat, photo = recipe[0].styles
    named = flat.model_copy(
        update={
            "naming": "name",
            "aliases": {"feline": "1F680"},
            "without": ("grinning-face",),
        }
    )
    changed = recipe[0].model_copy(update={"styles": (named, photo)})
    prepare(changed, tmp_path / "n.zip", cache=recipe[1], processes=1)
    ids = [row.id for row in Drawings.load(tmp_path / "n.zip").rows]
    assert ids == ["flat-1f408", "flat-1f680", "photo-1f408"]


def test_a_recipe_that_keeps_nothing_is_refused(
    recipe: tuple[DataRecipe, Path], tmp_path: Path
) -> None:
    groups = frozenset({"faces", "animals", "travel", "flags"})
    nothing = recipe[0].model_copy(update={"without_groups": groups})
    with pytest.raises(StudioError, match="keeps no drawing"):
        prepare(nothing, tmp_path / "n.zip", cache=recipe[1], processes=1)


def test_held_out_cells_are_the_named_share_and_go_by_family() -> None:
    held = sum(is_heldout(f"{n:X}", "noto", 0.05) for n in range(4000))
    assert 150 < held < 250
    assert not any(is_heldout(f"{n:X}", "noto", 0.0) for n in range(100))
    families = [is_heldout("1F408", family, 0.5) for family in "abcdefgh"]
    assert len(set(families)) == 2
