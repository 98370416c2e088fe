from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image

from studio.batch.engine import Artist, Here
from studio.batch.job import Job, Result
from studio.batch.journal import HIDDEN, Journal
from studio.batch.runner import Run
from studio.errors import OutputError
from studio.files import write_exactly
from studio.metadata import read_recipe
from tests.studio.batch.stub import StubArtist, job, jobs


def run(folder: Path, wanted: Sequence[Job], artist: Artist | None = None) -> list[Result]:
    with Journal(folder) as journal:
        return list(Run(journal, wanted).results(lambda: Here(artist or StubArtist())))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def names(results: Sequence[Result]) -> list[str]:
    return [result.path.name if result.path else "" for result in results]


def test_every_job_becomes_a_picture_with_its_recipe(tmp_path: Path) -> None:
    results = run(tmp_path, jobs(3))
    assert names(results) == [f"0000{i}_{i}_picture-{i}.png" for i in (1, 2, 3)]
    assert [read_recipe(result.path).request for result in results if result.path] == [
        result.job.request for result in results
    ]
    assert sorted(contents(tmp_path)) == names(results)


def test_the_second_run_draws_nothing_and_makes_no_engine(tmp_path: Path) -> None:
    run(tmp_path, jobs(3))
    before = contents(tmp_path)
    with Journal(tmp_path) as journal:
        results = list(Run(journal, jobs(3)).results(pytest.fail))
    assert [result.state for result in results] == ["done"] * 3
    assert not any(result.drawn for result in results)
    assert contents(tmp_path) == before


def test_what_stands_twice_is_drawn_once(tmp_path: Path) -> None:
    assert len(run(tmp_path, [*jobs(2), *jobs(2)])) == 2
    assert len(contents(tmp_path)) == 2


def test_a_new_job_joins_and_an_edited_one_replaces_nothing(tmp_path: Path) -> None:
    run(tmp_path, jobs(2))
    before = contents(tmp_path)
    results = run(tmp_path, [job(1), job(2, prompt="edited")])
    assert [result.drawn for result in results] == [False, True]
    assert contents(tmp_path).items() > before.items()


def test_stopping_finishes_the_picture_in_hand_and_begins_no_other(tmp_path: Path) -> None:
    seen: list[Result] = []
    with Journal(tmp_path) as journal:
        batch = Run(journal, jobs(5), stop=lambda: len(seen) == 2)
        for result in batch.results(lambda: Here(StubArtist())):
            seen.append(result)
    assert len(contents(tmp_path)) == 2
    assert [result.drawn for result in run(tmp_path, jobs(5))] == [False, False, True, True, True]


def test_a_failed_row_ends_nothing_and_is_tried_again(tmp_path: Path) -> None:
    artist = StubArtist(fails=("picture 2",))
    results = run(tmp_path, jobs(3), artist)
    assert [(result.state, result.error) for result in results] == [
        ("done", ""),
        ("failed", "seed 2: failed: nan."),
        ("done", ""),
    ]
    assert {result.job.index: result.drawn for result in run(tmp_path, jobs(3))} == {
        1: False,
        2: True,
        3: False,
    }


@pytest.mark.parametrize("together", [2, 3, 8])
def test_a_failed_row_costs_its_pack_nothing(tmp_path: Path, together: int) -> None:
    artist = StubArtist(fails=("picture 2", "picture 3"), together=together)
    results = run(tmp_path, jobs(5), artist)
    assert {result.job.index for result in results if result.state == "failed"} == {2, 3}
    assert len(results) == 5
    assert all(f"seed {r.job.index}:" in r.error for r in results if r.state == "failed")


def test_a_picture_whose_job_was_never_marked_done_is_adopted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    folder = tmp_path / "out"
    run(folder, jobs(3), StubArtist(log))
    with Journal(folder) as journal:  # as if killed between the file and the journal
        journal.reopen({entry.id: entry.name for entry in journal.entries().values()})
    results = run(folder, jobs(3), StubArtist(log))
    assert not any(result.drawn for result in results)
    assert Counter(log.read_text(encoding="utf-8").split()) == {j.id: 1 for j in jobs(3)}


def test_pictures_are_found_again_without_the_journal(tmp_path: Path) -> None:
    run(tmp_path, jobs(3))
    before = contents(tmp_path)
    for path in (tmp_path / HIDDEN).iterdir():
        path.unlink()
    assert not any(result.drawn for result in run(tmp_path, jobs(3)))
    assert contents(tmp_path) == before


def test_a_lost_picture_is_drawn_again_and_a_damaged_one_too(tmp_path: Path) -> None:
    first = run(tmp_path, jobs(3))
    before = contents(tmp_path)
    lost, damaged = (result.path for result in first[:2])
    assert lost is not None
    assert damaged is not None
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-100])
    results = run(tmp_path, jobs(3))
    assert sorted(result.job.index for result in results if result.drawn) == [1, 2]
    after = contents(tmp_path)
    assert after[lost.name] == before[lost.name]
    assert after["00002_2_picture-2_2.png"] == before[damaged.name]


def test_an_edited_picture_is_left_alone(tmp_path: Path) -> None:
    path = run(tmp_path, jobs(1))[0].path
    assert path is not None
    Image.new("RGB", (8, 8)).save(path)
    edited = path.read_bytes()
    assert not run(tmp_path, jobs(1))[0].drawn
    assert path.read_bytes() == edited


def test_a_file_of_somebody_else_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "00001_1_Picture-1.png").write_text("theirs", encoding="utf-8")
    (tmp_path / "00002_2_picture-2.png").symlink_to(tmp_path / "nowhere")
    with Journal(tmp_path) as journal:
        batch = Run(journal, jobs(3))
        (tmp_path / "00003_3_picture-3.png").write_text("late", encoding="utf-8")
        results = list(batch.results(lambda: Here(StubArtist())))
    assert names(results) == [f"0000{i}_{i}_picture-{i}_2.png" for i in (1, 2, 3)]
    assert (tmp_path / "00003_3_picture-3.png").read_text(encoding="utf-8") == "late"
    assert not (tmp_path / "nowhere").exists()


def test_a_full_disk_leaves_nothing_partial_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def full(target: Path, data: bytes, *, part: Path) -> None:
        nonlocal written
        written += 1
        if written > 2:
            raise OutputError(f"Cannot write into {target.parent}: No space left on device.")
        write_exactly(target, data, part=part)

    with monkeypatch.context() as patch:
        patch.setattr("studio.batch.runner.write_exactly", full)
        with pytest.raises(OutputError):
            run(tmp_path, jobs(5))
    assert len(contents(tmp_path)) == 2
    assert sum(result.drawn for result in run(tmp_path, jobs(5))) == 3


@pytest.mark.parametrize("template", ["{index", "{nothing}", "{prompt.__class__}", "{prompt:x}"])
def test_a_broken_template_is_refused_and_plans_nothing(tmp_path: Path, template: str) -> None:
    with Journal(tmp_path) as journal:
        with pytest.raises(OutputError, match="template"):
            Run(journal, jobs(2), template=template)
        assert not journal.entries()


@pytest.mark.parametrize(
    "template", ["../{index}", "/tmp/{index}", "CON", "x.", "a\0b", "😀" * 300, "{index}/../../x"]
)
def test_no_name_leaves_the_folder(tmp_path: Path, template: str) -> None:
    folder = tmp_path / "out"
    with Journal(folder) as journal:
        list(Run(journal, jobs(2), template=template).results(lambda: Here(StubArtist())))
    assert len(contents(folder)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_same_batch_gives_the_same_folder(tmp_path: Path) -> None:
    for name in ("one", "other"):
        run(tmp_path / name, jobs(4), StubArtist(together=1 if name == "one" else 3))
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_a_picture_is_durable_before_its_name_and_its_name_before_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def watch(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: object, **named: object) -> object:
            result = real(*arguments, **named)
            kind = ""
            if name == "fsync":
                kind = (
                    "folder" if stat.S_ISDIR(os.fstat(int(str(arguments[0]))).st_mode) else "file"
                )
            done.append(f"{name} {kind}".strip())
            return result

        monkeypatch.setattr(owner, name, call)

    with Journal(tmp_path) as journal:
        batch = Run(journal, jobs(1))
        watch(os, "fsync")
        watch(os, "link")
        watch(journal, "done")
        list(batch.results(lambda: Here(StubArtist())))
    assert done == ["fsync file", "link", "fsync folder", "done"]


def test_two_files_that_want_the_same_name_at_the_same_time_both_get_one(tmp_path: Path) -> None:
    with Journal(tmp_path) as one, Journal(tmp_path) as other:
        real = other.plan

        def late(names: Mapping[str, str]) -> None:
            other.plan = real  # type: ignore[method-assign]
            Run(one, jobs(2, steps=3))  # in between
            real(names)

        other.plan = late  # type: ignore[method-assign]
        Run(other, jobs(2, steps=9))
        assert len(other.entries()) == 4
