"""Labels read as one would say them, keywords are plain words."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.training.captions import english, plain_code, slug, spoken
from studio.training.data_recipe import load_recipe
from tests.training.packages import write_packages


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("cat face", "cat face"),
        ("man: red hair", "man with red hair"),
        ("person: beard", "person with a beard"),
        ("woman: bald", "bald woman"),
        ("couple with heart: woman, man", "couple with heart of woman and man"),
        ("family: man, woman, girl", "family of man, woman and girl"),
        ("woman running: facing right", "woman running facing right"),
        ("woman’s hat", "woman's hat"),
        ("ON! arrow", "on arrow"),
    ],
)
def test_labels_are_said_as_people_do(label: str, said: str) -> None:
    assert spoken(label) == said


def test_names_and_codes_join_however_they_are_written() -> None:
    assert slug("Piñata") == slug("pinata") == "pinata"
    assert slug("Cat Face") == slug("cat-face") == slug("catface")
    assert plain_code("1f6a3-200d-2642-fe0f") == "1F6A3-200D-2642"


def test_keywords_drop_slang_digits_signs_repeats_and_the_label(tmp_path: Path) -> None:
    recipe = write_packages(tmp_path).model_copy(update={"most_keywords": 3})
    words = ["cat", "lol", "143", ":D", "ok", "house_pet", "House pet", "kitten", "paw", "tail"]
    assert english(words, "cat", recipe) == ("house pet", "kitten", "paw")


def test_the_recipe_in_the_box_is_whole() -> None:
    recipe = load_recipe()
    assert all(package.sha256 and package.licence for package in recipe.packages)
    used = {recipe.package(style.package).name for style in recipe.styles}
    used |= {recipe.labels, recipe.keywords}
    used |= {extra or "none" for extra in (recipe.faces, recipe.dictionary, recipe.vectors)}
    used |= {icons.package for icons in recipe.silhouettes}
    assert used == {p.name for p in recipe.packages}
    assert len({style.id for style in recipe.styles}) == len(recipe.styles)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not YAML"), ("name: x", "labels|packages"), ("nonsense", "the file")],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text)
    with pytest.raises(StudioError, match=message):
        load_recipe(path)
    with pytest.raises(StudioError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")
