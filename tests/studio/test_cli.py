"""The command line without drawing: help, refusals, tables; none of it loads torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest

import studio
from studio.cli.main import COMMANDS, main
from studio.cli.progress import Bar
from studio.cli.quiet import quiet_libraries
from studio.cli.table import human_size
from studio.contact_sheet import MAX_SIDE, ContactSheet
from studio.errors import PictureError
from studio.pipelines.request import Request
from studio.schedulers import catalogue
from studio.training.options import TrainOptions

HELP = Path(__file__).parent / "help"
"""To renew: ``COLUMNS=100 studio generate --help > tests/studio/help/generate.txt``."""


@pytest.fixture(autouse=True)
def wide_plain_terminal() -> Iterator[None]:
    """Also puts back what commands set in the environment."""
    with mock.patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}):
        yield


def ended(argv: list[str]) -> int:
    """The exit code, whether ``main`` returned it or the parser ended the program."""
    try:
        return main(argv)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_as_committed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended([command, "--help"] if command else ["--help"]) == 0
    committed = HELP / f"{command or 'studio'}.txt"
    assert capsys.readouterr().out == committed.read_text(encoding="utf-8")


def test_answers_without_torch() -> None:
    script = """
import sys
from studio.cli.main import main
for line in sys.stdin:
    try:
        main(line.split())
    except SystemExit:
        pass
    loaded = {"torch", "diffusers", "transformers", "open_clip", "rich"} & set(sys.modules)
    if loaded - ({"rich"} if line.startswith(("samplers", "models")) else set()):
        sys.exit(f"{line} loaded {loaded}")
"""
    lines = [
        "--help",
        "--version",
        "generate --help",
        "batch --help",
        "batch nothing.txt --check",
        "generate cat --steps 0",
        "generate cat --model nothing",
        "info nothing.png",
        "verify nothing.png",
        "train --help",
        "samplers",
        "models",
    ]
    ran = subprocess.run(
        [sys.executable, "-c", script], input="\n".join(lines), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["--version"]) == 0
    assert capsys.readouterr().out == f"latent-studio {studio.__version__}\n"


def test_every_field_of_a_request_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["generate", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in set(Request.model_fields) - {"prompt"}:
        assert f"--{name.replace('_', '-')} " in shown


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["generate", "a cat", "--steps", "0"], 2, "steps = 0: out of range. Valid: an integer"),
        (["generate", "a cat", "--steps", "many"], 2, "steps = 'many': not an integer"),
        (["generate", "a cat", "--guidance-scale", "nan"], 2, "guidance_scale = nan"),
        (["generate", "a cat", "--seed", "-2"], 2, "seed = -2"),
        (["generate", "a cat", "--sampler", "eulr"], 2, "nearest: Euler"),
        (["generate", "a cat", "--width", "511"], 2, "504 and 512"),
        (["generate", "a cat", "--batch-size", "0"], 2, "--batch-size: '0' is not 1 or more"),
        (
            ["generate", "a cat", "--sampel", "x"],
            2,
            "unknown flag --sampel, the nearest is --sampler",
        ),
        (["generate", "a", "cat"], 2, "put a text of several words in quotes"),
        (["generate", "a cat", "--model", "nope"], 3, "'nope' is no known model"),
        (["generate"], 2, "PROMPT"),
        (["draw", "a cat"], 2, "invalid choice: 'draw'"),
        (["info", "nope.png"], PictureError.exit_code, "nope.png does not exist"),
        (["verify", "nope.png"], PictureError.exit_code, "nope.png does not exist"),
        (["train", "vae", "--out", "x", "--set", "steps"], 2, "not of the form KEY=VALUE"),
        (["train", "nothing", "--out", "x"], 2, "invalid choice: 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message_and_an_exit_code(
    argv: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("studio: error: ")
    assert says in err
    assert err.count("\n") == 1


def test_samplers_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samplers"]) == 0
    table = capsys.readouterr().out
    assert main(["samplers", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed["samplers"]] == [s.name for s in catalogue.samplers()]
    assert [row["name"] for row in listed["schedules"]] == [s.name for s in catalogue.schedules()]
    lines = table.splitlines()
    for row in [*listed["samplers"], *listed["schedules"]]:
        assert any(
            line.startswith(row["name"]) and line.rstrip().endswith(row["description"])
            for line in lines
        )


def test_models_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    table = capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    (mini,) = [card for card in json.loads(capsys.readouterr().out) if card["name"] == "mini"]
    assert mini["licence"] == "Apache-2.0"
    assert mini["path"] in table


def test_train_hands_over_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[TrainOptions] = []
    part = type("part", (), {"run": staticmethod(got.append)})
    monkeypatch.setitem(sys.modules, "studio.training.vae", part)
    argv = [
        "train",
        "vae",
        "--out",
        "o",
        "--data",
        "d",
        "--set",
        "a=1",
        "--set",
        "b=x=y",
        "--resume",
    ]
    assert main(argv) == 0
    (options,) = got
    assert (options.out, options.data) == (Path("o"), Path("d"))
    assert (options.recipe, options.init_from, options.resume) == (None, None, True)
    assert options.overrides == ("a=1", "b=x=y")


def test_a_missing_package_of_the_training_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("studio.cli.train.PARTS", {"no_such_part": ""})
    assert main(["train", "no_such_part", "--out", "o"]) == 4
    assert "pip install 'latent-studio[train]'" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (4, 2, 2), (5, 2, 3), (7, 3, 3)])
def test_a_contact_sheet_holds_all_its_pictures(count: int, rows: int, columns: int) -> None:
    from PIL import Image

    sheet = ContactSheet(count, (64, 48))
    for number in range(count):
        sheet.add(Image.new("RGB", (64, 48), (200, number, 0)), f"seed {number}")
    assert sheet.image.width // 64 == columns
    assert sheet.image.height // (48 + 12) == rows
    colours = {colour for _, colour in sheet.image.getcolors(2**20) or []}
    assert {(200, number, 0) for number in range(count)} <= colours


def test_a_contact_sheet_of_many_pictures_stays_small() -> None:
    sheet = ContactSheet(10_000, (512, 256))
    assert max(sheet.image.size) <= MAX_SIDE


def test_sizes_for_people() -> None:
    sizes = {0: "0 B", 999: "999 B", 45_000_000: "45.0 MB", 999_999: "1.0 MB", 10**10: "10.0 GB"}
    assert {size: human_size(size) for size in sizes} == sizes


def test_the_bar_shows_pictures_and_steps_and_prints_the_paths_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    request = Request.of(
        prompt="a cat",
        model="x/tiny",
        sampler="Euler",
        steps=8,
        seed=1,
        count=3,
        width=64,
        height=64,
    )
    batch = request.singles()[:2]
    with Bar() as bar:
        bar.start(request)
        for index in range(1, 9):
            bar.step(cast(Any, SimpleNamespace(index=index, total=8, requests=batch)))
        bar.picture(
            cast(Any, SimpleNamespace(recovery=("decoded in tiles",), seed=1)), Path("a.png")
        )
    out, err = capsys.readouterr()
    assert out == "a.png\n"
    assert "studio: drawing 3 pictures of 64x64 with tiny: 8 steps of Euler, seed 1" in err
    assert "loading tiny" in err
    assert "pictures 1-2 of 3, step 8 of 8" in err
    assert "studio: seed 1: decoded in tiles" in err


def test_warnings_of_libraries_are_silent_and_ours_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings():
        quiet_libraries()
        for module, category in [
            ("diffusers.models", UserWarning),
            ("studio.pipelines.x", FutureWarning),
            ("studio.pipelines.x", UserWarning),
        ]:
            text = f"{module} says {category.__name__}"
            warnings.warn_explicit(text, category, "file.py", 1, module=module)
    said = capsys.readouterr().err
    assert said == "studio: warning: studio.pipelines.x says UserWarning\n"
