"""``studio upscale``, and the recipe of what it makes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image

from studio.cli.main import main
from studio.metadata import read_recipe


@pytest.fixture(autouse=True)
def unchanged_environment() -> Iterator[None]:
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    for path, size in zip(paths, [(30, 20), (17, 41)], strict=True):
        Image.linear_gradient("L").resize(size).convert("RGB").save(path)
    return [str(path) for path in paths]


def upscale(*arguments: str) -> int:
    return main(["upscale", "--device", "cpu", *arguments])


def test_each_picture_is_enlarged_and_verifies(
    pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upscale(*pictures, "--scale", "4", "--out", str(tmp_path / "out")) == 0
    printed = capsys.readouterr().out.split()
    assert [Path(path).name for path in printed] == ["one_120x80.png", "two_68x164.png"]
    for path, source in zip(printed, pictures, strict=True):
        recipe = read_recipe(path)
        assert recipe.request.upscale == 4
        assert recipe.request.init_image is not None
        assert recipe.request.init_image.startswith("sha256:")
        with Image.open(path) as image:
            assert f"{image.width}x{image.height}" in Path(path).name
        assert main(["verify", path, "--init-image", source]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--scale", "5"], 2, "upscale = 5: out of range"),
        (["--scale", "two"], 2, "upscale = 'two': not an integer"),
        (["--upscaler", "mini"], 2, "the model mini draws pictures, it enlarges none"),
        (["--upscaler", "none.pth"], 3, "no known model"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    arguments: list[str],
    code: int,
    message: str,
    pictures: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert upscale(*pictures, *arguments, "--out", str(tmp_path / "out")) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_picture_that_cannot_be_read_stops_before_the_first_is_made(
    pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(pictures[0]).read_bytes()[:60])
    assert upscale(*pictures, str(broken), "--out", str(tmp_path / "out")) == 2
    assert "broken.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
