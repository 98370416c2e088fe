"""What a batch will take: counted and measured, never guessed where it can be known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from studio.batch.history import pace, work
from studio.batch.job import Job
from studio.batch.journal import HIDDEN, Entry, Journal

_BYTES_PER_PIXEL = 1.6  # of a PNG file of a picture with some detail


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Args:
        pictures: that the file asks for, each once.
        duplicates: asked for again; they are drawn once.
        done: whose pictures are there already.
        bad: rows that cannot be drawn.
        seconds: that drawing the others takes; None = nothing like them was drawn here yet.
        size: bytes that they take on the disk.
    """

    pictures: int
    duplicates: int
    done: int
    bad: int
    seconds: float | None
    size: int

    @property
    def missing(self) -> int:
        """Pictures to draw."""
        return self.pictures - self.done


def estimate(folder: Path, jobs: Sequence[Job], bad: int = 0) -> Plan:
    """Looks at a folder, changes nothing in it.

    Time and size of a picture go by pixels and steps: as measured on the batch's first pictures,
    before that as the model has drawn on this machine in other batches.

    Args:
        folder: the batch's, which need not be there.
        jobs: of the file; some may stand twice.
        bad: rows that cannot be drawn.
    """
    entries: Mapping[str, Entry] = {}
    if (folder / HIDDEN / "journal.sqlite").exists():
        with Journal(folder) as journal:
            entries = journal.entries()
    unique = {job.id: job for job in jobs}
    done = [
        (job, entries[job.id])
        for job in unique.values()
        if job.id in entries
        and entries[job.id].state == "done"
        and (folder / entries[job.id].name).exists()
    ]
    ready = {job.id for job, _ in done}
    missing = [job for job in unique.values() if job.id not in ready]
    timed = [(work(job), entry.seconds) for job, entry in done if entry.seconds]
    here = sum(seconds for _, seconds in timed) / sum(done for done, _ in timed) if timed else None
    paces = {model: here or pace(model) for model in {job.request.model for job in missing}}
    sized = [(_pixels(job), entry.bytes) for job, entry in done if entry.bytes]
    each = sum(size for _, size in sized) / sum(p for p, _ in sized) if sized else _BYTES_PER_PIXEL
    return Plan(
        pictures=len(unique),
        duplicates=len(jobs) - len(unique),
        done=len(done),
        bad=bad,
        seconds=None
        if None in paces.values()
        else sum(work(job) * (paces[job.request.model] or 0) for job in missing),
        size=round(each * sum(map(_pixels, missing))),
    )


def _pixels(job: Job) -> int:
    return (job.request.width or 0) * (job.request.height or 0)
