"""The command line drawing with a tiny random model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image, ImageOps

from studio.cli.main import main
from studio.errors import PictureError
from studio.metadata import encode_picture, read_recipe
from tests.tiny import tiny_components


@pytest.fixture(scope="module")
def model() -> str:
    return str(tiny_components("v_prediction", zero_snr=True))


@pytest.fixture(autouse=True)
def unchanged_environment() -> Iterator[None]:
    with mock.patch.dict(os.environ):
        yield


def generate(model: str, out: Path, *flags: str) -> int:
    fixed = ["--steps", "2", "--seed", "5", "--device", "cpu", "--out", str(out)]
    return main(["generate", "a cat", "--model", model, *fixed, *flags])


def test_pictures_and_grid_are_saved_and_their_paths_printed(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "folder"
    assert generate(model, out, "--count", "3", "--grid") == 0
    printed, said = capsys.readouterr()
    paths = [Path(line) for line in printed.splitlines()]
    assert paths == sorted(out.iterdir())
    assert [read_recipe(path).request.seed for path in paths[:3]] == [5, 6, 7]
    with Image.open(paths[3]) as grid:
        assert grid.width > 2 * 64
        assert grid.height > 2 * 64
    first, *others = said.splitlines()
    assert first.startswith("studio: drawing 3 pictures of 64x64")
    assert [line[: line.index(", seed")] for line in others] == [
        f"studio: picture {number} of 3" for number in (1, 2, 3)
    ]


def test_rank_keeps_the_best_of_the_candidates(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from studio.picture_files import read_picture
    from studio.scoring import Scorer

    assert generate(model, tmp_path / "all", "--count", "4", "-q") == 0
    everything = capsys.readouterr().out.splitlines()
    assert generate(model, tmp_path / "best", "--count", "2", "--rank", "2", "-q") == 0
    kept = capsys.readouterr().out.splitlines()
    scorer = Scorer.load()
    sure = {
        read_recipe(Path(path)).request.seed: float(scorer.sureness([read_picture(path)], "a cat"))
        for path in everything
    }
    best = sorted(sure, key=lambda seed: -sure[seed])[:2]
    assert [read_recipe(Path(path)).request.seed for path in kept] == best


def test_quiet_prints_the_paths_only(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(model, tmp_path, "-q") == 0
    printed, said = capsys.readouterr()
    assert [Path(line) for line in printed.splitlines()] == list(tmp_path.iterdir())
    assert said == ""


def test_json_is_one_event_a_line_and_nothing_else(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(model, tmp_path, "--json", "--count", "2", "--grid") == 0
    printed, said = capsys.readouterr()
    assert said == ""
    events = [json.loads(line) for line in printed.splitlines()]
    kinds = ["start", *["step", "step", "picture"] * 2, "grid"]
    assert [event["event"] for event in events] == kinds
    assert events[0]["request"]["seed"] == 5
    assert events[1] == {"event": "step", "seeds": [5], "step": 1, "of": 2}
    for event in events:
        if event["event"] == "picture":
            recipe = read_recipe(event["path"])
            assert event["pixel_sha256"] == recipe.pixel_sha256
            assert event["request"] == json.loads(recipe.request.to_json())
            assert event["seed"] == recipe.request.seed
    assert Path(events[-1]["path"]).is_file()


def test_info_and_verify_of_a_generated_picture(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(model, tmp_path, "-q") == 0
    path = capsys.readouterr().out.strip()
    assert main(["info", path]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("a cat\nSteps: 2, Sampler: ")
    recipe = read_recipe(path)
    assert recipe.weights_sha256 in shown
    assert f"Drawn on: cpu, fp32, attention sdpa, threads {recipe.threads}\n" in shown
    assert main(["info", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["request"]["prompt"] == "a cat"

    assert main(["verify", path]) == 0
    assert capsys.readouterr().out == f"{path}: bit-exact\n"
    with Image.open(path) as image:
        changed = image.convert("RGB")
        changed.putpixel((0, 0), (1, 2, 3))
        text = image.info
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("studio", text["studio"])
    changed.save(tmp_path / "changed.png", pnginfo=info)
    assert main(["verify", str(tmp_path / "changed.png")]) == 1
    assert re.search(r"differs, PSNR \d+\.\d dB\n  the file was changed", capsys.readouterr().out)


def test_info_and_verify_take_several_pictures(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(model, tmp_path, "-q", "--count", "2") == 0
    paths = capsys.readouterr().out.split()
    assert len(paths) == 2
    assert main(["info", *paths]) == 0
    first, second = capsys.readouterr().out.split(f"\n\n{paths[1]}:\n")
    assert first.startswith(f"{paths[0]}:\na cat\nSteps: 2")
    for path, shown in ((paths[0], first), (paths[1], second)):
        assert f"Seed: {read_recipe(path).request.seed}" in shown
    assert main(["info", "--json", *paths]) == 0
    seeds = [json.loads(line)["request"]["seed"] for line in capsys.readouterr().out.splitlines()]
    assert seeds == [read_recipe(path).request.seed for path in paths]
    assert main(["verify", *paths]) == 0
    assert capsys.readouterr().out == "".join(f"{path}: bit-exact\n" for path in paths)


def test_verify_reads_all_recipes_before_it_draws_and_tells_of_any_difference(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(model, tmp_path, "-q") == 0
    path = Path(capsys.readouterr().out.strip())
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert main(["verify", str(path), str(tmp_path / "plain.png")]) == PictureError.exit_code
    shown = capsys.readouterr()
    assert "plain.png" in shown.err
    assert shown.out == ""
    with Image.open(path) as image:
        changed = ImageOps.invert(image.convert("RGB"))
    other = tmp_path / "changed.png"
    other.write_bytes(encode_picture(changed, read_recipe(path)))
    assert main(["verify", str(other), str(path)]) == 1
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{other}: differs")
    assert last == f"{path}: bit-exact"


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_output_folder_that_cannot_be_is_told_before_weights_load(
    out: str,
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("studio.facade.load", lambda *_: pytest.fail("loaded weights"))
    (tmp_path / "file").write_text("")
    assert generate(model, tmp_path / out, "-q") == 75
    assert capsys.readouterr().err.startswith("studio: error: --out ")


def test_interrupting_leaves_whole_pictures_only(model: str, tmp_path: Path) -> None:
    argv = ["generate", "a cat", "--model", model, "--out", str(tmp_path), "--device", "cpu"]
    argv += ["--steps", "8", "--seed", "5", "--count", "1000", "--json"]
    program = subprocess.Popen(
        [sys.executable, "-m", "studio.cli.main", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    saved, after = [], 0
    for line in program.stdout:
        event = json.loads(line)
        if event["event"] == "picture":
            saved.append(Path(event["path"]))
        after += event["event"] == "step" and bool(saved)
        if after == 2:  # well within the second picture
            break
    program.send_signal(signal.SIGINT)
    rest, said = program.communicate()
    saved += [Path(e["path"]) for e in map(json.loads, rest.splitlines()) if "path" in e]
    assert program.returncode == 130
    assert said == "studio: error: interrupted; what was saved so far is complete\n"
    assert sorted(tmp_path.iterdir()) == sorted(saved)
    for path in saved:
        assert read_recipe(path).request.prompt == "a cat"
        with Image.open(path) as image:
            image.load()
