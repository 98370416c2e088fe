"""What is known of one job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from studio.pipelines.request import Request

Status = Literal["queued", "running", "done", "failed", "cancelled"]

STATUSES: tuple[Status, ...] = ("queued", "running", "done", "failed", "cancelled")
"""The states of a job: it ends in one of the last three."""


@dataclass(frozen=True)
class Job:
    """One accepted request and what became of it.

    Args:
        id: begins with the time of its acceptance, so that names sort by age.
        owner: login name; empty where the server asks for no login.
        request: resolved.
        status: see :data:`STATUSES`.
        created: when it was accepted, seconds since 1970 (UTC); likewise the next two.
        started: when drawing began first; ``None`` before.
        ended: ``None`` until it has ended.
        step: steps done of the picture in hand.
        total: steps of the picture in hand, 0 while they are not known.
        picture: index of the picture in hand, counted from 0.
        eta_s: seconds until the job is done, as far as can be told while it runs.
        pictures: the files of the pictures drawn so far, by index. A picture that was skipped is
            not among them.
        skipped: how many pictures were skipped.
        error: why it failed, in one line; else empty.
        position: how many jobs come before this one, 0 = drawn next; ``None`` unless queued.
        favourite: marked by its owner.
        version: differs after every change of the above.
    """

    id: str
    owner: str
    request: Request
    status: Status
    created: float
    started: float | None = None
    ended: float | None = None
    step: int = 0
    total: int = 0
    picture: int = 0
    eta_s: float | None = None
    pictures: tuple[Path, ...] = ()
    skipped: int = 0
    error: str = ""
    position: int | None = None
    favourite: bool = False
    version: int = 0

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self.status in ("done", "failed", "cancelled")

    @property
    def progress(self) -> float:
        """Share of the job that is done, 0 to 1."""
        if self.status == "done":
            return 1.0
        within = self.step / self.total if self.status == "running" and self.total else 0.0
        return min(1.0, (len(self.pictures) + self.skipped + within) / self.request.count)
