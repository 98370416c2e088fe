"""What the user sees of a batch: a bar, plain lines, JSON lines, or only the paths.

Paths (and JSON lines) go to standard output, everything else to standard error.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from studio.batch.batch import Watcher
from studio.batch.job import Job, Result
from studio.cli.batch_tables import print_summary

if TYPE_CHECKING:
    from studio.pipelines.drawing import Step


class Paths(Watcher, AbstractContextManager["Paths"]):
    """Prints the path of each file that is written and nothing else; the others add to it."""

    def __init__(self) -> None:
        self.total = self.missing = self.drawn = self.failed = self.there = 0
        self._since = time.monotonic()

    def planned(self, jobs: Sequence[Job], missing: Sequence[Job]) -> None:
        """How much there is to do is known."""
        self.total, self.missing = len(jobs), len(missing)
        self._since = time.monotonic()

    def step(self, step: Step) -> None:
        """One denoising step is done, where this process draws itself."""

    def result(self, result: Result) -> None:
        """A job has come to its end."""
        if result.state == "failed":
            self.failed += 1
        elif result.drawn:
            self.drawn += 1
            self.path(result.path)
        else:
            self.there += 1

    def path(self, path: Path | None) -> None:
        """Prints a path."""
        print(path, flush=True)

    def wrote(self, path: Path) -> None:
        """A file beside the pictures is there."""
        self.path(path)

    def say(self, line: str) -> None:
        """Something that the user should know at once."""
        print(f"studio: {line}", file=sys.stderr, flush=True)

    def end(self, folder: Path, bad: int) -> None:
        """The batch has ended: what came of it, ``bad`` rows that could not be read included."""

    @property
    def ended(self) -> int:
        """Jobs that have come to their end, in this run or before."""
        return self.drawn + self.failed + self.there

    def counts(self, bad: int) -> dict[str, int]:
        """What came of the jobs."""
        return {
            "drawn now": self.drawn,
            "there before": self.there,
            "failed": self.failed + bad,
            "left": self.total - self.ended,
        }

    @property
    def pace(self) -> str:
        """Pictures a minute in this run, and the time that is left; empty before the first."""
        ended = self.drawn + self.failed
        left = self.total - self.there - ended
        seconds = time.monotonic() - self._since
        if not self.drawn or seconds <= 0:
            return ""
        rest = timedelta(seconds=round(seconds / ended * left))
        return f"{60 * self.drawn / seconds:.3g} a minute, {rest} left"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """The batch ended, well or not."""


class Lines(Paths):
    """One plain line per picture, for logs and pipes."""

    def planned(self, jobs: Sequence[Job], missing: Sequence[Job]) -> None:
        """Says how much there is to do."""
        super().planned(jobs, missing)
        self.say(f"{len(jobs)} pictures, {len(jobs) - len(missing)} of them done already")

    def result(self, result: Result) -> None:
        """Says which picture is done or failed, and how fast it goes."""
        super().result(result)
        about = f"picture {result.job.index} of {self.total}"
        if result.state == "failed":
            self.say(f"{about} failed: {result.error}")
        elif result.drawn:
            took = f", {result.seconds:.1f} s" if result.seconds else ""
            self.say(", ".join([f"{about} done{took}", *result.notes, *filter(None, [self.pace])]))

    def waiting(self, count: int) -> None:
        """Says so once."""
        if count != getattr(self, "_waiting", None):
            self._waiting = count
            self.say(f"waiting for {count} pictures that another process has in hand")

    def end(self, folder: Path, bad: int) -> None:
        """Prints the table."""
        print_summary(folder, self.counts(bad))


class JsonLines(Paths):
    """One JSON object a line on standard output."""

    def planned(self, jobs: Sequence[Job], missing: Sequence[Job]) -> None:
        """``{"event": "start", "pictures": 12, "done": 3}``."""
        super().planned(jobs, missing)
        self._emit("start", {"pictures": len(jobs), "done": len(jobs) - len(missing)})

    def step(self, step: Step) -> None:
        """``{"event": "step", "seeds": [1, 2], "step": 1, "of": 20}``: of the pictures in hand."""
        seeds = [request.seed for request in step.requests]
        self._emit("step", {"seeds": seeds, "step": step.index, "of": step.total})

    def result(self, result: Result) -> None:
        """``{"event": "picture", "id": ..., "index": 1, "line": 1, "path": ..., ...}``."""
        super().result(result)
        self._emit(
            "picture" if result.state == "done" else "failed",
            {
                "id": result.job.id,
                "index": result.job.index,
                "line": result.job.row.line,
                "path": str(result.path) if result.path else None,
                "error": result.error or None,
                "drawn": result.drawn,
                "seconds": result.seconds,
                "recovery": list(result.notes),
                "request": json.loads(result.job.request.to_json()),
            },
        )

    def path(self, path: Path | None) -> None:
        """Nothing: the events hold it."""

    def wrote(self, path: Path) -> None:
        """``{"event": "file", "path": ...}``."""
        self._emit("file", {"path": str(path)})

    def waiting(self, count: int) -> None:
        """``{"event": "waiting", "pictures": 2}``: other processes have them in hand."""
        self._emit("waiting", {"pictures": count})

    def end(self, folder: Path, bad: int) -> None:
        """``{"event": "end", "drawn now": 9, "there before": 3, "failed": 0, "left": 0}``."""
        self._emit("end", {"folder": str(folder), **self.counts(bad)})

    def say(self, line: str) -> None:
        """``{"event": "message", "text": ...}``."""
        self._emit("message", {"text": line})

    def _emit(self, event: str, fields: Mapping[str, object]) -> None:
        print(json.dumps({"event": event, **fields}), flush=True)


class Bar(Paths):
    """A live bar over the whole batch, for terminals."""

    def __init__(self) -> None:
        super().__init__()
        from studio.cli.progress import rich_bar

        self._bar = rich_bar()
        self._task = self._bar.add_task("", total=None, left="")

    def planned(self, jobs: Sequence[Job], missing: Sequence[Job]) -> None:
        """Shows the bar where there is something to do."""
        super().planned(jobs, missing)
        self.say(f"{len(jobs)} pictures, {len(jobs) - len(missing)} of them done already")
        if missing:
            self._bar.update(self._task, total=len(jobs), description="loading")
            self._bar.start()

    def step(self, step: Step) -> None:
        """Moves the bar within the pictures in hand."""
        share = len(step.requests) * step.index / step.total
        self._show(self.ended + share, f"step {step.index} of {step.total}")

    def result(self, result: Result) -> None:
        """Prints the path above the bar, and moves it."""
        if not (result.drawn or result.state == "failed"):
            super().result(result)
            return
        self._bar.stop()
        super().result(result)
        if result.state == "failed":
            self.say(f"picture {result.job.index} failed: {result.error}")
        self._show(self.ended, f"{self.ended} of {self.total}")
        if self.ended < self.total:
            self._bar.start()

    def waiting(self, count: int) -> None:
        """Says so in the bar."""
        self._show(self.total - count, f"waiting for {count} pictures of another process")

    def say(self, line: str) -> None:
        """Above the bar."""
        running = self._bar.live.is_started
        self._bar.stop()
        super().say(line)
        if running:
            self._bar.start()

    def end(self, folder: Path, bad: int) -> None:
        """Prints the table in place of the bar."""
        self._bar.stop()
        print_summary(folder, self.counts(bad))

    def _show(self, completed: float, text: str) -> None:
        self._bar.update(self._task, completed=completed, description=text, left=self.pace)

    def __exit__(self, *_: object) -> None:
        """Takes the bar away."""
        self._bar.stop()


def choose(*, as_json: bool, quiet: bool) -> Paths:
    """The kind of progress that fits the flags and the terminal."""
    if as_json:
        return JsonLines()
    if quiet:
        return Paths()
    return Bar() if sys.stderr.isatty() else Lines()
