"""Kills batches and compares what is left with a batch that was never stopped.

python -m tests.slow.batch_kills random --kills 200 --jobs 1000
LD_PRELOAD=faults.so python -m tests.slow.batch_kills every --jobs 20 --model stub

Each batch is a forked child, so that what it needs is imported (and a model loaded) only once.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from studio.batch.batch import run_batch
from studio.batch.engine import Artist, Here, Pack
from studio.batch.job import Job, Outcome
from studio.batch.journal import HIDDEN, Journal
from studio.batch.pictures import holds
from tests.studio.batch.stub import StubArtist, jobs


@dataclass
class Remembering:
    """Draws each picture once, then knows it by heart."""

    artist: Artist
    known: dict[str, Outcome] = field(default_factory=dict)

    def pack_size(self, job: Job) -> int:
        return self.artist.pack_size(job)

    def draw(self, pack: Pack) -> Iterator[Outcome]:
        for job in pack:
            if job.id not in self.known:
                self.known |= {one.job: one for one in self.artist.draw((job,))}
            yield self.known[job.id]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("random", "every"))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--model", choices=("stub", "mini"), default="stub")
    parser.add_argument("--longest", type=float, default=1.5, help="seconds until a random kill")
    parser.add_argument("--every", type=int, default=1, help="only each n-th point")
    parser.add_argument("--redraw", action="store_true", help="really draw after each kill")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        run = at_random if options.mode == "random" else at_every_change
        print(json.dumps(run(Path(folder), options)))


def at_random(root: Path, options: argparse.Namespace) -> dict[str, object]:
    """Kills a batch after random times until it has ended in spite of it, and then the next one."""
    wanted, log = jobs(options.jobs), root / "log"
    whole, folder = root / "whole", root / "killed"
    child(lambda: draw(whole, wanted, StubArtist()))
    dice, began = random.Random(options.seed), time.monotonic()
    sums = {"kills": 0, "kills over pictures": 0, "batches": 0, "drawn": 0, **NOTHING}
    while sums["kills"] < options.kills or folder.exists():
        process = fork(lambda: draw(folder, wanted, StubArtist(log)))
        if sums["kills"] < options.kills:
            before = len(pictures(folder))
            time.sleep(dice.uniform(0, options.longest))
            os.kill(process, signal.SIGKILL)
            sums["kills over pictures"] += len(pictures(folder)) > before
        if os.WIFSIGNALED(os.waitpid(process, 0)[1]):
            sums["kills"] += 1
            continue
        sums["batches"] += 1
        add(sums, verdict(whole, folder, wanted), f"batch {sums['batches']}")
        shutil.rmtree(folder)
    sums["drawn"] = len(log.read_text(encoding="utf-8").split())
    seconds = round(time.monotonic() - began, 1)
    return {**sums, "seconds": seconds, "torch": "torch" in sys.modules}


def at_every_change(root: Path, options: argparse.Namespace) -> dict[str, int]:
    """Kills a fresh batch at its first change of a file, the next one at its second, and so on."""
    wanted, artist = of_model(options)
    whole, folder = root / "whole", root / "killed"
    faults = ctypes.CDLL(None)
    faults.faults_seen.restype = ctypes.c_long
    changes = counted(whole, wanted, artist, faults)
    sums = {"changes": changes, "kills": 0, **NOTHING}
    for torn in (0, 1):
        for point in range(1, changes + 1, options.every):
            shutil.rmtree(folder, ignore_errors=True)

            def killed(at: int = point, half: int = torn) -> None:
                faults.faults_arm(str(folder).encode(), ctypes.c_long(at), half)
                draw(folder, wanted, artist)

            ended = os.waitpid(fork(killed), 0)[1]
            sums["kills"] += os.WIFSIGNALED(ended)
            child(lambda: draw(folder, wanted, artist))
            add(sums, verdict(whole, folder, wanted), f"change {point}, torn {torn}")
    return sums


def add(sums: dict[str, int], found: dict[str, int], where: str) -> None:
    for name, count in found.items():
        sums[name] += count
    if any(found.values()):
        print(f"{where}: {found}", file=sys.stderr, flush=True)


def of_model(options: argparse.Namespace) -> tuple[list[Job], Artist]:
    if options.model == "stub":
        return jobs(options.jobs), StubArtist()
    from studio.batch.artist import StudioArtist
    from studio.batch.job import jobs_of
    from studio.batch.rows import read

    lines = "\n".join(f"a red apple {number} --steps 2" for number in range(options.jobs))
    text = "".join(f"--prompt {line}\n" for line in lines.split("\n")).encode()
    wanted = list(jobs_of(read(text).rows))
    named = tuple(replace(job, name="any.png") for job in wanted)
    artist: Artist = StudioArtist("cpu")
    if options.redraw:
        list(artist.draw(named[:1]))  # loads the model
        return wanted, artist
    remembering = Remembering(artist)
    list(remembering.draw(named))
    return wanted, remembering


def draw(folder: Path, wanted: list[Job], artist: Artist) -> None:
    for _ in run_batch(folder, wanted, lambda: Here(artist)):
        pass


def counted(folder: Path, wanted: list[Job], artist: Artist, faults: ctypes.CDLL) -> int:
    """Draws the whole batch and counts its changes of files."""
    into, out = os.pipe()

    def run() -> None:
        faults.faults_arm(str(folder).encode(), ctypes.c_long(0), 0)
        draw(folder, wanted, artist)
        os.write(out, str(faults.faults_seen()).encode())

    child(run)
    return int(os.read(into, 32))


NOTHING = {"lost": 0, "twice": 0, "undecodable": 0, "differs": 0, "left over": 0}


def verdict(whole: Path, folder: Path, wanted: list[Job]) -> dict[str, int]:
    """What is wrong with a folder, against one whose batch was never stopped."""
    left = [path.name for path in (folder / HIDDEN).iterdir() if path.name != "journal.sqlite"]
    with Journal(folder) as journal:
        entries = journal.entries()
    here = pictures(folder)
    asked = [entries[job.id] for job in wanted]
    return {
        "lost": sum(entry.state != "done" or entry.name not in here for entry in asked),
        "twice": len(here - {entry.name for entry in asked}),
        "undecodable": sum(not holds(folder / entry.name, entry.id) for entry in asked),
        "differs": contents(whole) != contents(folder),
        "left over": len(left),
    }


def pictures(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("0*.png")}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def fork(run: Callable[[], None]) -> int:
    process = os.fork()
    if process == 0:
        try:
            run()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return process


def child(run: Callable[[], None]) -> None:
    ended = os.waitpid(fork(run), 0)[1]
    if ended:
        raise RuntimeError(f"a batch that nobody killed ended with status {ended}")


if __name__ == "__main__":
    main()
