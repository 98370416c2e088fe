"""``studio batch`` on the command line, most of it with a stand-in for the model."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from studio.batch.engine import Here, Pack
from studio.batch.job import Outcome
from studio.cli.main import main
from studio.metadata import read_recipe
from tests.studio.batch.stub import StubArtist
from tests.studio.batch.test_runner import contents

PROMPTS = 'a red apple\n\n# comment\n--prompt "a blue cube" --steps 4 --seed 3\na green tree\n'


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path) -> Iterator[None]:
    with mock.patch.dict(os.environ, XDG_CACHE_HOME=str(tmp_path / "cache")):
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text(PROMPTS, encoding="utf-8")
    return path


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_with(monkeypatch, StubArtist())


def draw_with(monkeypatch: pytest.MonkeyPatch, artist: StubArtist) -> None:
    monkeypatch.setattr("studio.cli.batch._engine", lambda *_: Here(artist))


def batch(file: Path, *flags: str) -> int:
    return main(["batch", str(file), "--out", str(file.parent / "out"), *flags])


@pytest.mark.usefixtures("stub")
def test_a_file_becomes_pictures_a_sheet_and_a_page(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(file) == 0
    printed, said = capsys.readouterr()
    names = {Path(line).name for line in printed.splitlines()}
    out = file.parent / "out"
    assert names == set(contents(out)) >= {"contact_sheet.png", "index.html"}
    assert "00002_3_a-blue-cube.png" in names
    assert "3 pictures, 0 of them done already" in said
    assert "a minute" in said
    assert "drawn now     3" in said
    before = contents(out)
    assert batch(file) == 0
    printed, said = capsys.readouterr()
    assert (printed, contents(out)) == ("", before)
    assert "3 of them done already" in said


def test_every_problem_is_reported_before_anything_is_made(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("--prompt a --steps 0\nfine\n--prompt b --sampler_name Eulr\n", "utf-8")
    for flags in (["--check"], []):
        assert batch(file, *flags) == 2
        said = capsys.readouterr().err
        assert f"{file}: line 1" in said
        assert f"{file}: line 3" in said
        assert "Euler" in said
    assert not (file.parent / "out").exists()


@pytest.mark.usefixtures("stub")
def test_bad_rows_can_fail_alone_and_be_run_again(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("--prompt a --steps 0\nfine\n", "utf-8")
    assert batch(file, "--skip-bad") == 6
    out = file.parent / "out"
    assert len(list(out.glob("0*.png"))) == 1
    assert "failed        1" in capsys.readouterr().err
    failed = out / "failed.jsonl"
    row = json.loads(failed.read_text("utf-8"))
    assert "1 to 1000" in str(row.pop("#problems"))
    assert row == {"#row": "--prompt a --steps 0", "prompt": "a", "steps": 0}
    assert main(["batch", str(failed), "--check"]) == 2


def test_what_failed_can_be_run_again_as_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_with(monkeypatch, StubArtist(fails=("a blue cube",)))
    assert batch(file) == 6
    out = file.parent / "out"
    assert "failed: nan" in capsys.readouterr().err
    assert "failed: nan" in (out / "index.html").read_text("utf-8")
    draw_with(monkeypatch, StubArtist())
    assert main(["batch", str(out / "failed.jsonl"), "--out", str(out)]) == 0
    assert (out / "00002_3_a-blue-cube.png").exists()
    assert batch(file) == 0
    assert not (out / "failed.jsonl").exists()
    assert "failed: nan" not in (out / "index.html").read_text("utf-8")


@pytest.mark.usefixtures("stub")
def test_the_page_shows_every_text_escaped(file: Path) -> None:
    file.write_text('<script>alert("1")</script> & co\n', "utf-8")
    assert batch(file, "--name", "{index}") == 0
    page = (file.parent / "out" / "index.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert 'src="00001.png"' in page


@pytest.mark.usefixtures("stub")
def test_a_plan_counts_and_changes_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("one\ntwo\ntwo\n", "utf-8")
    assert batch(file, "--plan", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["pictures"], plan["duplicates"], plan["done"], plan["missing"]) == (2, 1, 0, 2)
    assert plan["seconds"] is None
    assert not (file.parent / "out").exists()
    draw_some = ["--rows", "1-1"]
    assert batch(file, *draw_some) == 0
    capsys.readouterr()
    assert batch(file, "--plan") == 0
    assert "to draw" in capsys.readouterr().out


def test_the_time_of_a_plan_comes_from_other_batches_of_the_model(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("one\ntwo\n", "utf-8")
    draw_with(monkeypatch, StubArtist(pause_s=0.25))
    assert batch(file, "--steps", "4") == 0
    capsys.readouterr()
    elsewhere = ["--out", str(file.parent / "elsewhere"), "--plan", "--json"]
    assert main(["batch", str(file), "--steps", "8", *elsewhere]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] == pytest.approx(1.0)


@pytest.mark.usefixtures("stub")
def test_parts_of_a_file_make_the_same_pictures_as_the_whole(file: Path) -> None:
    for rows in ("2-3", "1"):
        assert batch(file, "--rows", rows) == 0
    parts = contents(file.parent / "out")
    assert main(["batch", str(file), "--out", str(file.parent / "whole")]) == 0
    whole = contents(file.parent / "whole")
    pictures = {name for name in whole if name.startswith("0")}
    assert {name: parts[name] for name in pictures} == {name: whole[name] for name in pictures}


@pytest.mark.usefixtures("stub")
def test_events_are_one_object_a_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch(file, "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == [
        "start",
        *["picture"] * 3,
        "file",
        "file",
        "end",
    ]
    assert events[2]["line"] in (4, 5)
    assert Path(events[1]["path"]).exists()


@pytest.mark.usefixtures("stub")
def test_products_make_labelled_grids(file: Path) -> None:
    file.write_text("an apple\n", "utf-8")
    assert batch(file, "--each", "seed=1..3", "--each", "sampler=Euler a,DPM++ 2M") == 0
    out = file.parent / "out"
    assert len(list(out.glob("0*.png"))) == 6
    assert (out / "grid_001.png").exists()


class Interrupted(StubArtist):
    """Gets Ctrl-C while it draws the second picture."""

    def draw(self, pack: Pack) -> Iterator[Outcome]:
        if pack[0].index == 2:
            signal.raise_signal(signal.SIGINT)
        yield from super().draw(pack)


def test_ctrl_c_finishes_the_picture_in_hand_and_says_how_to_go_on(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_with(monkeypatch, Interrupted())
    file.write_text("one\ntwo\nthree\n", "utf-8")
    monkeypatch.setattr("sys.argv", ["studio", "batch", "my prompts.txt"])
    assert batch(file) == 130
    said = capsys.readouterr().err
    assert "finishing the picture in hand" in said
    assert "studio batch 'my prompts.txt'" in said
    assert "left          1" in said
    assert len(list((file.parent / "out").glob("0*.png"))) == 2
    draw_with(monkeypatch, StubArtist())
    assert batch(file) == 0


class InterruptedTwice(StubArtist):
    """Gets Ctrl-C twice while it draws the second picture."""

    def draw(self, pack: Pack) -> Iterator[Outcome]:
        if pack[0].index == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        yield from super().draw(pack)


def test_ctrl_c_twice_stops_at_once(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_with(monkeypatch, InterruptedTwice())
    file.write_text("one\ntwo\nthree\n", "utf-8")
    assert batch(file) == 130
    assert "interrupted" in capsys.readouterr().err
    assert len(list((file.parent / "out").glob("0*.png"))) == 1
    draw_with(monkeypatch, StubArtist())
    assert batch(file) == 0


@pytest.mark.parametrize("flag", ["--rows=0-3", "--rows=x", "--workers=0", "--choices-seed=-1"])
def test_flags_out_of_range_are_refused(file: Path, flag: str) -> None:
    with pytest.raises(SystemExit) as ended:
        batch(file, flag)
    assert ended.value.code == 2


def test_without_a_folder_nothing_is_drawn(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", str(file)]) == 2
    assert "--out" in capsys.readouterr().err


def test_the_real_artist_draws_what_generate_draws(tmp_path: Path) -> None:
    from studio import Studio
    from tests.tiny import tiny_components

    model = str(tiny_components())
    (tmp_path / "p.txt").write_text("a {red|blue} cat\na dog\n", "utf-8")
    fixed = ["--model", model, "--steps", "2", "--seed", "5", "--device", "cpu"]
    assert main(["batch", str(tmp_path / "p.txt"), "--out", str(tmp_path / "out"), *fixed]) == 0
    first, second = (read_recipe(path) for path in sorted((tmp_path / "out").glob("0*.png")))
    assert first.template == "a {red|blue} cat"
    assert first.choices_seed == 0
    assert first.request.prompt in ("a red cat", "a blue cat")
    assert first.timings is None
    again = next(Studio(model, device="cpu").generate("a dog", steps=2, seed=5))
    assert second.pixel_sha256 == again.recipe.pixel_sha256

    api = Studio(model, device="cpu").batch(
        ["a dog", {"prompt": "a cat", "steps": 2}], out=tmp_path / "api"
    )
    results = list(api)
    assert [result.state for result in results] == ["done", "done"]
    repeated = Studio(model, device="cpu").batch(
        ["a dog", {"prompt": "a cat", "steps": 2}], out=tmp_path / "api"
    )
    assert [result.drawn for result in repeated] == [False, False]
