"""Waiting for jobs without holding a thread: the service's changes as asyncio sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from anyio import to_thread

from studio.errors import UnavailableError
from studio.jobs.job import Job
from studio.jobs.service import Service

BEAT_S = 15.0
"""Seconds without news after which a sign of life is given."""


class Hub:
    """Wakes all that wait whenever any job changes. Lives as long as the event loop of a server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._event = asyncio.Event()
        self._closed = False
        self._stop: Callable[[], None] | None = None

    def open(self) -> None:
        """Begins to listen. Call it within the event loop."""
        loop = asyncio.get_running_loop()

        def changed() -> None:
            with suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(self._wake)

        self._stop = self._service.listen(changed)

    def close(self) -> None:
        """Sends all away that wait. Call it within the event loop."""
        self._closed = True
        if self._stop is not None:
            self._stop()
        self._wake()

    async def follow(self, id: str, owner: str) -> AsyncIterator[Job | None]:
        """The job now and after every change, until it has ended or the server stops.

        ``None`` is a sign of life where nothing changed for :data:`BEAT_S`.

        Raises:
            JobNotFound: there is none, or it is somebody else's.
        """
        version: int | None = None
        while not self._closed:
            event = self._event
            job = await to_thread.run_sync(self._service.job, id, owner)
            if job.version != version:
                yield job
                version = job.version
            if job.over:
                return
            try:
                await asyncio.wait_for(event.wait(), BEAT_S)
            except TimeoutError:
                yield None

    async def ended(self, job: Job) -> Job:
        """The job once it has ended.

        Raises:
            UnavailableError: the server stops first; the job is drawn after the next start.
        """
        async for state in self.follow(job.id, job.owner):
            if state is not None and state.over:
                return state
        raise UnavailableError(
            "The server stops; the job is kept.", valid="to ask for it again after the restart"
        )

    def _wake(self) -> None:
        self._event.set()
        self._event = asyncio.Event()
