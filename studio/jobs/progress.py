"""What is known of the job in hand while it is drawn, and its preview."""

from __future__ import annotations

import io
import math
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from PIL import Image

from studio.jobs.job import Job

if TYPE_CHECKING:
    from studio.pipelines.drawing import Step

_EDGE = 512  # pixels of a preview's longer edge
_SHARE = 0.2  # of the time of drawing may go into previews


class Progress:
    """The job in hand: written by the drawing thread, read by all others.

    Args:
        id: the job.
        count: its pictures.
    """

    def __init__(self, id: str, count: int) -> None:
        self.id = id
        self.count = count
        self.cancelled = False
        self.skipping = False
        self.in_hand = 1
        self.version = 0
        self._lock = threading.Lock()
        self._step = self._total = self._picture = 0
        self._began: float | None = None  # the first step of this run is done
        self._units = 0.0  # pictures drawn since then, in parts
        self._preview: bytes | None = None
        self._wanted = False
        self._rest_until = 0.0

    def picture(self, number: int) -> None:
        """Picture ``number`` is taken in hand."""
        with self._lock:
            self._picture, self._step, self._total, self.in_hand = number, 0, 0, 1

    def step(self, step: Step) -> None:
        """A step is done. Makes a preview where one was asked for since the last."""
        now, together = time.monotonic(), len(step.requests)
        with self._lock:
            if self._began is None:
                self._began = now
            else:
                self._units += together / step.total
            self._step, self._total, self.in_hand = step.index, step.total, together
            wanted = self._wanted and now >= self._rest_until
        if wanted:
            preview = _jpeg(step.preview())
            took = time.monotonic() - now
            with self._lock:
                self._preview, self._wanted = preview, False
                self._rest_until = now + took / _SHARE

    def preview(self) -> bytes | None:
        """The last preview, as JPEG; asks for a new one after the next step."""
        with self._lock:
            self._wanted = True
            return self._preview

    def over(self, job: Job) -> Job:
        """``job`` as read from the store, with what is known here."""
        with self._lock:
            left = float(self.count - len(job.pictures) - job.skipped)
            if self._total:
                left -= self.in_hand * self._step / self._total
            eta = None
            if self._began is not None and self._units:
                eta = (time.monotonic() - self._began) / self._units * max(0.0, left)
            return replace(
                job,
                step=self._step,
                total=self._total,
                picture=self._picture,
                eta_s=eta,
                version=max(job.version, self.version),
            )


def _jpeg(images: list[Image.Image]) -> bytes:
    """Pictures that are drawn together, side by side in a square as JPEG."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    width, height = images[0].size
    sheet = images[0].convert("RGB")
    if len(images) > 1:
        sheet = Image.new("RGB", (columns * width, rows * height))
        for i, image in enumerate(images):
            sheet.paste(image, (i % columns * width, i // columns * height))
    sheet.thumbnail((_EDGE, _EDGE))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
