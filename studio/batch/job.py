"""One picture to draw, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from studio.pipelines.request import Request


@dataclass(frozen=True)
class Job:
    """One picture to draw.

    Args:
        id: SHA-256 of the request and the weights' hash, see :func:`identity.job_id`.
        index: its place in the batch, from 1.
        request: resolved, ``count`` 1.
        template: the prompt before its random choices, where there were any.
        axes: the values of the lists that were multiplied, by the name of their field.
        line: line of the file that it comes from, from 1; 0 = none.
        name: name of its picture's file, once it is planned.
    """

    id: str
    index: int
    request: Request
    template: str | None = None
    axes: Mapping[str, object] = field(default_factory=dict)
    line: int = 0
    name: str = ""


@dataclass(frozen=True)
class Outcome:
    """What an engine made of a job.

    Args:
        job: its id.
        data: the whole picture file; empty where it failed.
        seconds: what drawing took.
        notes: steps of recovery.
        error: why it failed, in one sentence.
    """

    job: str
    data: bytes = b""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Result:
    """Where a job of a batch stands for good.

    Args:
        job: what was asked for.
        state: ``done`` or ``failed``.
        path: the picture, where done.
        error: why it failed.
        drawn: whether it was drawn now; false where the picture was there already, from an
            earlier run or another process.
        seconds: what drawing took, where known.
        notes: steps of recovery, where it was drawn now.
    """

    job: Job
    state: Literal["done", "failed"]
    path: Path | None = None
    error: str = ""
    drawn: bool = False
    seconds: float | None = None
    notes: tuple[str, ...] = ()
