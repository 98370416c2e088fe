"""What the user sees while pictures are drawn: a bar, plain lines, JSON lines, or only the paths.

Paths (and JSON lines) go to standard output, everything else to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichBar

    from studio.picture import Picture
    from studio.pipelines.request import Request
    from studio.pipelines.text_to_image import Step


class Progress(AbstractContextManager["Progress"]):
    """Prints the path of each file and nothing else; the other kinds add to it."""

    def start(self, request: Request) -> None:
        """The request is valid and resolved; weights load next."""

    def step(self, step: Step) -> None:
        """One denoising step of the present batch is done."""

    def picture(self, picture: Picture, path: Path) -> None:  # noqa: ARG002 (the others use it)
        """A picture was saved."""
        print(path, flush=True)

    def file(self, kind: str, path: Path) -> None:  # noqa: ARG002 (the others use it)
        """Another file was saved."""
        print(path, flush=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drawing ended, well or not."""


class Lines(Progress):
    """One plain line per picture, for logs and pipes."""

    def __init__(self) -> None:
        self._count = self._done = 0

    def start(self, request: Request) -> None:
        """Says what will be drawn."""
        self._count = request.count
        _say(summary(request))

    def picture(self, picture: Picture, path: Path) -> None:
        """Says which picture is done and how long it took."""
        self._done += 1
        took = f", {picture.timings.total_s:.1f} s" if picture.timings else ""
        _say(f"picture {self._done} of {self._count}, seed {picture.seed}{took}")
        _say_recovery(picture)
        super().picture(picture, path)


class JsonLines(Progress):
    """One JSON object a line on standard output."""

    def __init__(self) -> None:
        self._done = 0

    def start(self, request: Request) -> None:
        """``{"event": "start", "request": ...}``."""
        _emit("start", {"request": json.loads(request.to_json())})

    def step(self, step: Step) -> None:
        """``{"event": "step", "seeds": [1, 2], "step": 1, "of": 20}``: of the pictures in hand."""
        seeds = [request.seed for request in step.requests]
        _emit("step", {"seeds": seeds, "step": step.index, "of": step.total})

    def picture(self, picture: Picture, path: Path) -> None:
        """``{"event": "picture", "path": ..., "seed": ..., "request": ..., ...}``."""
        self._done += 1
        _emit(
            "picture",
            {
                "path": str(path),
                "seed": picture.seed,
                "timings": asdict(picture.timings) if picture.timings else None,
                "recovery": list(picture.recovery),
                "pixel_sha256": picture.recipe.pixel_sha256,
                "request": json.loads(picture.request.to_json()),
            },
        )

    def file(self, kind: str, path: Path) -> None:
        """``{"event": "grid", "path": ...}``."""
        _emit(kind, {"path": str(path)})


class Bar(Progress):
    """A live bar over all pictures with the time that is left, for terminals."""

    def __init__(self) -> None:
        self._bar = rich_bar()
        self._task = self._bar.add_task("", total=None, left="")
        self._count = self._done = 0

    def start(self, request: Request) -> None:
        """Shows a moving bar while the weights load."""
        self._count = request.count
        _say(summary(request))
        self._bar.update(self._task, description=f"loading {_model(request)}")
        self._bar.start()

    def step(self, step: Step) -> None:
        """Moves the bar."""
        if step.index == 1 and self._done == 0:
            self._bar.reset(self._task, total=self._count)
        together = len(step.requests)
        first, last = self._done + 1, self._done + together
        which = f"picture {first}" if together == 1 else f"pictures {first}-{last}"
        self._bar.update(
            self._task,
            completed=self._done + together * step.index / step.total,
            description=f"{which} of {self._count}, step {step.index} of {step.total}",
        )
        seconds = self._bar.tasks[0].time_remaining
        if seconds is not None:
            self._bar.update(self._task, left=f"{timedelta(seconds=seconds)} left")

    def picture(self, picture: Picture, path: Path) -> None:
        """Prints the path above the bar."""
        self._done += 1
        self._bar.stop()
        _say_recovery(picture)
        super().picture(picture, path)
        self._bar.update(self._task, completed=self._done)
        if self._done < self._count:
            self._bar.start()

    def __exit__(self, *_: object) -> None:
        """Takes the bar away."""
        self._bar.stop()


def rich_bar() -> RichBar:
    """A bar on standard error with room for text before and after it (the field ``left``)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        refresh_per_second=4,  # each refresh takes time from the drawing
    )


def choose(*, as_json: bool, quiet: bool) -> Progress:
    """The kind of progress that fits the flags and the terminal."""
    if as_json:
        return JsonLines()
    if quiet:
        return Progress()
    return Bar() if sys.stderr.isatty() else Lines()


def summary(request: Request) -> str:
    """One line that says what a resolved request will draw."""
    pictures = "1 picture" if request.count == 1 else f"{request.count} pictures"
    if request.upscale is not None:
        return f"enlarging {pictures} {request.upscale} times with {_model(request)}"
    size = f"{request.width}x{request.height}"
    if request.hires_scale > 1:
        size += f", {request.hires_scale:g} times as large in the end,"
    return (
        f"drawing {pictures} of {size} with {_model(request)}: "
        f"{request.steps} steps of {request.sampler}, seed {request.seed}"
    )


def _model(request: Request) -> str:
    return Path(request.model).name


def _say(line: str) -> None:
    print(f"studio: {line}", file=sys.stderr, flush=True)


def _say_recovery(picture: Picture) -> None:
    for step in picture.recovery:
        _say(f"seed {picture.seed}: {step}")


def _emit(event: str, fields: Mapping[str, object]) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)
