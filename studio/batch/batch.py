"""A whole batch: its journal, its pictures and the files beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from studio.batch.engine import Engine
from studio.batch.job import Job, Result
from studio.batch.journal import Journal
from studio.batch.naming import TEMPLATE
from studio.batch.report import write_reports
from studio.batch.runner import Run
from studio.batch.sheet import BadRow


class Watcher:
    """Hears how a batch goes on. This one does nothing with it."""

    def planned(self, jobs: Sequence[Job], missing: Sequence[Job]) -> None:
        """All jobs, and those whose pictures are not there yet."""

    def waiting(self, count: int) -> None:
        """Nothing is left to do but ``count`` pictures that other processes have in hand."""

    def wrote(self, path: Path) -> None:
        """A file beside the pictures was written."""


def run_batch(
    folder: Path,
    jobs: Sequence[Job],
    engine: Callable[[], Engine],
    *,
    bad: Sequence[BadRow] = (),
    template: str = TEMPLATE,
    stop: Callable[[], bool] = lambda: False,
    watcher: Watcher | None = None,
) -> Iterator[Result]:
    """Sees to it that the picture of every job is in the folder, and says of each when it is.

    Whatever ends it, the same call again goes on where it was; several processes may work on one
    folder at the same time.

    Args:
        folder: made where it is missing.
        jobs: in the order of the file; one that stands twice is drawn once.
        engine: makes what draws; called only where something is missing.
        bad: rows that could not be read, for the files beside the pictures.
        template: of the pictures' names, see :mod:`studio.batch.naming`.
        stop: asked between pictures; once true, no further one is begun.
        watcher: hears how it goes on.

    Raises:
        OutputError: disk full, read-only, ...; nothing is partial, and the same call goes on later.
        ModelError, UnavailableError: nothing can be drawn.
    """
    watcher = watcher or Watcher()
    with Journal(folder) as journal:
        run = Run(journal, jobs, template=template, stop=stop, waiting=watcher.waiting)
        watcher.planned(run.jobs, run.missing)
        results: dict[str, Result] = {}
        for result in run.results(engine):
            results[result.job.id] = result
            yield result
        if len(results) == len(run.jobs):
            in_order = [results[job.id] for job in run.jobs]
            for path in write_reports(journal, in_order, bad):
                watcher.wrote(path)
