"""Several processes on one folder, and processes that were killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

from studio.batch.batch import Watcher, run_batch
from studio.batch.engine import Here
from studio.batch.journal import HIDDEN, Journal
from studio.batch.locking import Presence, present, sweep
from tests.studio.batch.stub import StubArtist, jobs
from tests.studio.batch.test_runner import contents, run

SPAWN = multiprocessing.get_context("spawn")
COUNT = 30


def work(folder: Path, log: Path, pause_s: float) -> None:
    for _ in run_batch(folder, jobs(COUNT), lambda: Here(StubArtist(log, pause_s=pause_s))):
        pass


def test_two_processes_share_the_work_and_never_a_job(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    logs = [tmp_path / "log1", tmp_path / "log2"]
    both = [SPAWN.Process(target=work, args=(folder, log, 0.05)) for log in logs]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    drawn = [log.read_text(encoding="utf-8").split() for log in logs]
    assert Counter(drawn[0] + drawn[1]) == {job.id: 1 for job in jobs(COUNT)}
    assert all(drawn), "each has had its share"
    run(tmp_path / "alone", jobs(COUNT))
    assert contents(tmp_path / "alone").items() <= contents(folder).items()
    assert [path.name for path in (folder / HIDDEN).iterdir()] == ["journal.sqlite"]


def test_what_a_killed_process_had_in_hand_is_drawn_by_the_other(tmp_path: Path) -> None:
    folder, log = tmp_path / "out", tmp_path / "log"
    other = SPAWN.Process(target=work, args=(folder, log, 60.0))  # never gets done
    other.start()
    with Journal(folder) as journal:
        while not any(entry.owner for entry in journal.entries().values()):
            time.sleep(0.02)
    assert other.pid

    class Impatient(Watcher):
        def waiting(self, count: int) -> None:
            assert count == 1
            os.kill(other.pid or 0, signal.SIGKILL)
            other.join()

    results = list(run_batch(folder, jobs(COUNT), lambda: Here(StubArtist()), watcher=Impatient()))
    assert {result.state for result in results} == {"done"}
    assert len(results) == COUNT


def test_a_mark_lasts_as_long_as_its_process(tmp_path: Path) -> None:
    mark = Presence(tmp_path)
    part = mark.part("picture")
    part.write_bytes(b"unfinished")
    sweep(tmp_path)
    assert present(tmp_path, mark.name)
    assert part.exists()
    os.close(mark._descriptor)  # what the system does when a process is killed
    assert not present(tmp_path, mark.name)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_claims_are_exclusive_and_given_back(tmp_path: Path) -> None:
    wanted = [job.id for job in jobs(3)]
    with Journal(tmp_path) as one:
        one.plan({job: f"{job}.png" for job in wanted})
        with Journal(tmp_path) as other:
            assert list(one.claim(wanted[:2])) == wanted[:2]
            assert list(other.claim(wanted)) == wanted[2:]
            other.free_abandoned()
            assert other.claim(wanted) == {}
        assert list(one.claim(wanted)) == wanted[2:]
