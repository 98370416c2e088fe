"""Runs a batch: plans, claims, lets draw, writes, and says what came of each job.

A job is in the hands of one process at most, and a picture has its name only when all of it is on
the disk. So whatever ends this process, the next one loses nothing and draws nothing twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace

from studio.batch.engine import Engine
from studio.batch.job import Job, Outcome, Result
from studio.batch.journal import Entry, Journal
from studio.batch.naming import TEMPLATE, Names
from studio.batch.packing import Todo
from studio.batch.pictures import decodes, holds
from studio.files import write_exactly

_POLL_S = 0.5  # between looks at what other processes have finished


class Run:
    """One run of a batch in a folder.

    Args:
        journal: of the folder that the pictures go to.
        jobs: what shall be there at the end; a job that stands twice is drawn once.
        template: of the pictures' names.
        stop: asked between pictures; once true, no further job is begun.
        waiting: called with the number of jobs that other processes have in hand, whenever nothing
            else is left to do.

    Raises:
        OutputError: the folder cannot be used, or the template cannot be filled.
    """

    def __init__(
        self,
        journal: Journal,
        jobs: Sequence[Job],
        *,
        template: str = TEMPLATE,
        stop: Callable[[], bool] = lambda: False,
        waiting: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._journal, self._stop, self._waiting = journal, stop, waiting
        self._folder = journal.folder
        self._jobs: dict[str, Job] = {}
        for job in jobs:
            self._jobs.setdefault(job.id, job)
        self._template = template
        self._names, self._entries = self._plan()

    @property
    def jobs(self) -> list[Job]:
        """All jobs, each once."""
        return list(self._jobs.values())

    @property
    def missing(self) -> list[Job]:
        """The jobs whose pictures were not there at the start."""
        return [job for job in self._jobs.values() if self._entries[job.id].state != "done"]

    def results(self, engine: Callable[[], Engine]) -> Iterator[Result]:
        """What came of each job: those that are there already first, then as they are finished.

        Once ``stop`` is true, the jobs that were not begun are missing from it.

        Args:
            engine: makes what draws; called only where something is missing.

        Raises:
            OutputError: disk full, read-only, ...; to be run again when that is mended.
            ModelError, UnavailableError: nothing can be drawn.
        """
        missing = self.missing
        for job in self._jobs.values():
            entry = self._entries[job.id]
            if entry.state == "done":
                yield self._settled(entry)
        if missing and not self._stop():
            drawing = engine()
            try:
                yield from self._finished(missing, drawing)
            finally:
                drawing.close()

    def _plan(self) -> tuple[Names, dict[str, Entry]]:
        """Plans what is new, and again what has failed or whose picture is no longer there."""
        entries = self._journal.entries()
        names = Names(self._folder, (entry.name for entry in entries.values()))
        new = [job for job in self._jobs.values() if job.id not in entries]
        unplanned = new
        while unplanned:  # again for those whose names another process was quicker to plan
            self._journal.plan({job.id: names.new(job, self._template) for job in unplanned})
            planned = self._journal.entries()
            unplanned = [job for job in unplanned if job.id not in planned]
        again = {}
        for entry in (entries[job] for job in self._jobs if job in entries):
            size, path = names.sizes.get(entry.name), self._folder / entry.name
            if entry.state == "failed" or (entry.state == "done" and size is None):
                again[entry.id] = entry.name
            elif entry.state == "done" and size != entry.bytes and not decodes(path):
                # Damaged by others, for ours are whole; what they only edited is left alone.
                again[entry.id] = names.another(entry.name, entry.id)
        self._journal.reopen(again)
        return names, self._journal.entries() if new or again else entries

    def _finished(self, missing: list[Job], engine: Engine) -> Iterator[Result]:
        left = {job.id for job in missing}
        in_hand: dict[str, Job] = {}
        todo = Todo(missing)
        while True:
            while todo and engine.room() and not self._stop():
                wanted = todo.take(engine.size)
                claimed = self._claimed(wanted)
                if not claimed:  # others are at work: see what they have left
                    todo = Todo(self._open(left - in_hand.keys()))
                for result in self._adopted(claimed):
                    left.discard(result.job.id)
                    yield result
                in_hand |= claimed
                if claimed:
                    engine.start(tuple(claimed.values()))
            if engine.busy:
                outcome = engine.next()
                left.discard(outcome.job)
                yield self._written(in_hand.pop(outcome.job), outcome)
            elif not left or self._stop():
                return
            else:
                for result in self._by_others(left):
                    left.discard(result.job.id)
                    yield result
                todo = Todo(self._open(left))
                if left and not todo:
                    self._waiting(len(left))
                    time.sleep(_POLL_S)

    def _claimed(self, wanted: Sequence[Job]) -> dict[str, Job]:
        """Those of the jobs that are this process's now, with the names that the journal has."""
        names = self._journal.claim([job.id for job in wanted])
        return {job.id: replace(job, name=names[job.id]) for job in wanted if job.id in names}

    def _adopted(self, claimed: dict[str, Job]) -> Iterator[Result]:
        """Takes those out that a process had finished when it died, before it could say so.

        Where somebody else's file has the name, the job gets another one.
        """
        for job in list(claimed.values()):
            path = self._folder / job.name
            if not os.path.lexists(path):
                continue
            if holds(path, job.id):
                size = path.stat().st_size
                self._journal.done(job.id, size=size, seconds=None)
                yield Result(claimed.pop(job.id), "done", path)
            else:
                claimed[job.id] = self._renamed(job)

    def _renamed(self, job: Job) -> Job:
        while True:
            name = self._names.another(job.name, job.id)
            if self._journal.rename(job.id, name):
                return replace(job, name=name)

    def _written(self, job: Job, outcome: Outcome) -> Result:
        """Makes the picture durable, then says so in the journal: in this order."""
        if outcome.error:
            self._journal.failed(job.id, outcome.error)
            return Result(job, "failed", error=outcome.error, drawn=True)
        while True:
            path = self._folder / job.name
            try:
                write_exactly(path, outcome.data, part=self._journal.presence.part("picture"))
                break
            except FileExistsError:  # it came while this one was drawn
                job = self._renamed(job)
        self._journal.done(job.id, size=len(outcome.data), seconds=outcome.seconds)
        return Result(job, "done", path, "", True, outcome.seconds, outcome.notes)

    def _by_others(self, left: set[str]) -> Iterator[Result]:
        """What other processes have finished of these jobs."""
        entries = self._journal.entries()
        for job in self._jobs.values():
            entry = entries[job.id]
            if job.id in left and entry.state != "planned":
                yield self._settled(entry)

    def _open(self, left: Set[str]) -> list[Job]:
        """Those of these jobs that nobody has in hand."""
        self._journal.free_abandoned()
        entries = self._journal.entries()
        free = {job for job in left if entries[job].state == "planned" and not entries[job].owner}
        return [job for job in self._jobs.values() if job.id in free]

    def _settled(self, entry: Entry) -> Result:
        job = replace(self._jobs[entry.id], name=entry.name)
        if entry.state == "failed":
            return Result(job, "failed", error=entry.error)
        return Result(job, "done", self._folder / entry.name, seconds=entry.seconds)
