from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from studio.batch.batch import run_batch
from studio.batch.engine import MOST_DEATHS, Artist, Pack
from studio.batch.job import Job, Outcome, Result
from studio.batch.process_engine import Processes
from studio.errors import ModelError
from tests.studio.batch.stub import StubArtist, jobs
from tests.studio.batch.test_runner import contents, run


def drawn(folder: Path, wanted: list[Job], artist: Artist, workers: int = 2) -> list[Result]:
    return list(run_batch(folder, wanted, lambda: Processes([artist] * workers, together=2)))


def test_several_processes_draw_what_one_draws(tmp_path: Path) -> None:
    artist = StubArtist(fails=("picture 3",))
    results = drawn(tmp_path / "many", jobs(7), artist)
    assert sorted(result.job.index for result in results) == [1, 2, 3, 4, 5, 6, 7]
    assert [result.job.index for result in results if result.error] == [3]
    run(tmp_path / "one", jobs(7), artist)
    here = contents(tmp_path / "many")
    assert contents(tmp_path / "one").items() <= here.items()


@dataclass(frozen=True)
class Dying:
    """Kills its own process: once over each job, or over one of them every time."""

    marks: Path
    always: str = ""

    def pack_size(self, job: Job) -> int:  # noqa: ARG002
        return 1

    def draw(self, pack: Pack) -> Iterator[Outcome]:
        for job in pack:
            mark = self.marks / job.id
            if job.request.prompt == self.always or not mark.exists():
                with mark.open("a", encoding="utf-8") as file:
                    file.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
            yield from StubArtist().draw((job,))


@pytest.mark.slow
def test_a_killed_worker_costs_no_picture_and_one_that_always_dies_fails(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    results = drawn(tmp_path / "out", jobs(3), Dying(marks, always="picture 2"))
    assert {result.job.index: result.state for result in results} == {
        1: "done",
        2: "failed",
        3: "done",
    }
    assert 1 < len((marks / jobs(2)[1].id).read_text(encoding="utf-8")) <= MOST_DEATHS
    assert any(f"{MOST_DEATHS} times" in result.error for result in results)


class Broken:
    """Has no model."""

    def pack_size(self, job: Job) -> int:  # noqa: ARG002
        return 1

    def draw(self, pack: Pack) -> Iterator[Outcome]:  # noqa: ARG002
        raise ModelError("The weights are gone.", valid="other weights")


def test_a_broken_model_ends_the_batch_with_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"The weights are gone\. Valid: other weights\."):
        drawn(tmp_path, jobs(3), Broken(), workers=1)
