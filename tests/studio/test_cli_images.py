"""The command line drawing over pictures, and checking what it drew."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from studio.cli.main import main
from studio.metadata import read_recipe
from tests.pipelines.test_oracle_images import disc, photo
from tests.tiny import tiny_components

KINDS = {
    "image to image": [],
    "inpainting": ["--mask", "mask.png"],
    "alpha": ["--mask", "alpha", "--mask-fill", "blur"],
    "only masked": ["--mask", "mask.png", "--only-masked"],
    "outpainting": ["--extend-right", "16", "--extend-top", "8"],
    "colouring": ["--keep-luminance"],
}


@pytest.fixture(autouse=True)
def unchanged_environment() -> Iterator[None]:
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    photo().save(tmp_path / "in.png")
    disc().save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_over_a_picture_is_drawn_and_verified(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ["--steps", "3", "--seed", "5", "--device", "cpu", "--out", "out", "-q"]
    model = str(tiny_components("v_prediction", zero_snr=True))
    start = ["--init-image", "in.png", "--strength", "0.7", *KINDS[kind]]
    if kind == "alpha":
        image = photo().convert("RGBA")
        image.putalpha(disc().point(lambda level: 255 - level))
        image.save("in.png")
    assert main(["generate", "a cat", "--model", model, *fixed, *start]) == 0
    path = Path(capsys.readouterr().out.strip())
    request = read_recipe(path).request
    assert request.init_image is not None
    assert request.init_image.startswith("sha256:")
    assert str(folder) not in request.to_json().replace(model, "")
    with Image.open(path) as drawn:
        assert drawn.size == ((80, 72) if kind == "outpainting" else (64, 64))
        assert np.asarray(drawn).std() > 5
    given = ["--init-image", "in.png", *(["--mask", "mask.png"] if "mask.png" in start else [])]
    assert main(["verify", str(path), *given]) == 0
    assert "bit-exact" in capsys.readouterr().out


def test_verify_asks_for_the_picture_that_it_lacks(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ["--steps", "1", "--device", "cpu", "--out", str(folder / "out"), "-q"]
    model = str(tiny_components("v_prediction", zero_snr=True))
    assert main(["generate", "a cat", "--model", model, *fixed, "--init-image", "in.png"]) == 0
    path = capsys.readouterr().out.strip()
    disc().save("other.png")
    for given in ([], ["--init-image", "other.png"]):
        assert main(["verify", path, *given]) == 2
        assert "init_image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--strength", "0.5"], "strength = 0.5"),
        (["--init-image", "none.png"], "none.png"),
        (["--init-image", "in.png", "--strength", "1.5"], "strength = 1.5"),
        (["--init-image", "in.png", "--mask", "alpha"], "no transparency"),
        (["--init-image", "in.png", "--extend-left", "12"], "extend_left = 12"),
        (["--init-image", "in.png", "--extend-left", "8", "--keep-luminance"], "keep_luminance"),
        (["--init-image", "in.png", "--fit", "bend"], "fit = 'bend'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    flags: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "a cat", "--model", str(tiny_components()), *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (folder / "outputs").exists()
