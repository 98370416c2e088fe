"""One picture to draw, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from studio.batch.identity import job_id, weights_sha256
from studio.batch.sheet import Row
from studio.pipelines.request import Request


@dataclass(frozen=True)
class Job:
    """One picture to draw.

    Args:
        id: SHA-256 of the request and the weights' hash, see :func:`identity.job_id`.
        index: its place in the batch, from 1.
        request: resolved, ``count`` 1.
        row: that asks for it, its request of one picture too.
        choices_seed: what the random choices of its prompt follow from.
        name: name of its picture's file, once it is planned.
    """

    id: str
    index: int
    request: Request
    row: Row
    choices_seed: int = 0
    name: str = ""

    @property
    def template(self) -> str | None:
        """The prompt before its random choices, where it had any."""
        return self.row.template if self.row.template != self.request.prompt else None


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


def jobs_of(rows: Iterable[Row], choices_seed: int = 0) -> Iterator[Job]:
    """The jobs of all pictures that the rows ask for, in order. Loads no weights.

    Raises:
        ModelError: the weights of a model are missing or broken.
    """
    index = 0
    for row in rows:
        weights = weights_sha256(row.request.model)
        for resolved, own in _singles(row):
            index += 1
            yield Job(job_id(resolved, weights), index, resolved, own, choices_seed)


def _singles(row: Row) -> Iterator[tuple[Request, Row]]:
    if row.resolved.count == 1:
        yield row.resolved, row
        return
    for resolved, asked in zip(row.resolved.singles(), row.request.singles(), strict=True):
        yield resolved, replace(row, request=asked)
