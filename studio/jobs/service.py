"""The job service: the one thing that page and HTTP doors talk to."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from studio.errors import JobNotFound, JobStateError, QueueFull
from studio.facade import Studio
from studio.inputs import Inputs
from studio.jobs.changes import Changes
from studio.jobs.folder import locked
from studio.jobs.job import Job, Status
from studio.jobs.offered import Offered
from studio.jobs.store import Store
from studio.jobs.worker import Artist, Worker, adopt, job_folder
from studio.pipelines.components import ModelCard
from studio.pipelines.request import Request

QUEUE_SIZE = 100
"""Jobs that wait at most, of all owners together."""

_RETRY_S = 30
_PATIENCE_S = 30.0  # for a step to end


class Service:
    """Accepts jobs, has them drawn one after another and finds them again.

    Every method may be called from any thread. ``owner`` is a login name, empty where the server
    asks for no login; the jobs of others are not there for anybody.

    Args:
        folder: keeps the jobs, their pictures and the uploaded pictures; one service at a time.
        device: see :class:`~studio.facade.Studio`; so the next two.
        precision: number format of the weights.
        attention: attention backend.
        memory: how much of it may be held (see :class:`~studio.facade.Studio`).
        queue_size: jobs that wait at most.
        models: names of cards, or folders of weights, that jobs may use; ``None`` is every model
            that is known. The first is what a job draws with that names none, unless ``mini`` is
            among them.
        artist: what draws with a model, by the model's name; for tests.

    Raises:
        OutputError: the folder cannot be used, or another service uses it.
        ModelError: one of ``models`` is not there.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        attention: str = "auto",
        memory: str = "auto",
        queue_size: int = QUEUE_SIZE,
        models: Sequence[str] | None = None,
        artist: Callable[[str], Artist] | None = None,
    ) -> None:
        self.folder = Path(folder).absolute()
        self._queue_size = queue_size
        self._offered = Offered(models)
        self._lock_file = locked(self.folder)
        self.inputs = Inputs(self.folder / "inputs")
        self._artist = artist or partial(
            Studio,
            device=device,
            precision=precision,
            attention=attention,
            memory=memory,
            inputs=self.inputs,
        )
        self._store = Store(self.folder)
        self._changes = Changes()
        self._worker = Worker(self._store, self._artist, self._changes.tell)

    def start(self, warm: str | None = None) -> None:
        """Begins to draw. What an earlier run left unfinished is drawn first.

        Args:
            warm: model that is loaded in the background where no job waits.
        """
        for id in self._store.requeue_all():
            adopt(self._store, id)
        self._worker.start(warm)

    def wind_down(self) -> None:
        """From now on no further picture is begun; :meth:`stop` is still to be called."""
        self._worker.wind_down()

    def stop(self, finish: bool = True, timeout_s: float = 60.0) -> bool:
        """Ends the service. What is left of the job in hand is drawn after the next start.

        Args:
            finish: whether the picture in hand is finished first.
            timeout_s: how long that may take.

        Returns:
            Whether the drawing thread has ended. Where it has not, end the process: the job in
            hand is drawn after the next start all the same.
        """
        ended = self._worker.stop(finish, timeout_s)
        self._changes.tell()
        self._store.close()
        self._lock_file.close()
        return ended

    @property
    def ready(self) -> bool:
        """Whether jobs are accepted and drawn."""
        return self._worker.alive

    @property
    def default_model(self) -> str:
        """What a job draws with that names no model."""
        return self._offered.default

    def models(self) -> list[ModelCard]:
        """The models that jobs may use."""
        return self._offered.cards()

    def submit(self, request: Request | Mapping[str, object], *, owner: str = "") -> Job:
        """Accepts a job: once this returns, it is drawn, whatever happens to the server.

        Args:
            request: the request, or its fields. Pictures are named by the reference that
                ``inputs.add`` gave, never by a path.
            owner: whose job it is.

        Raises:
            RequestError: a field cannot be used.
            ModelError: the model's files are broken.
            QueueFull: enough jobs wait already.
        """
        if not isinstance(request, Request):
            request = Request.of(**request)
        request = self._offered.checked(request)
        request = self._artist(request.model).resolve(request)
        now = time.time()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
        job = Job(f"{stamp}-{secrets.token_hex(4)}", owner, request, "queued", now)
        if not self._store.add(job, self._queue_size):
            raise QueueFull(
                f"{self._queue_size} jobs wait already.",
                retry_after_s=_RETRY_S,
                valid="to try again later",
            )
        self._worker.wake()
        self._changes.tell()
        return self.job(job.id, owner)

    def job(self, id: str, owner: str = "") -> Job:
        """One job as it stands now.

        Raises:
            JobNotFound: there is none, or it is somebody else's.
        """
        job = self._store.get(id)
        if job.owner != owner:
            raise JobNotFound(f"There is no job {id[:80]!r}.", valid="a job of yours")
        return self._as_it_stands(job, self._store.queue() if job.status == "queued" else [])

    def jobs(
        self,
        owner: str = "",
        *,
        text: str = "",
        status: Status | None = None,
        favourites: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> list[Job]:
        """Jobs of one owner, the newest first.

        Args:
            owner: whose.
            text: must be found in the prompt or the negative prompt; case does not matter.
            status: only those in this state.
            favourites: only those that were marked.
            limit: how many at most.
            offset: how many of the newest to pass over.
        """
        found = self._store.find(owner, text, status, favourites, limit, offset)
        queue = self._store.queue()
        return [self._as_it_stands(job, queue) for job in found]

    def cancel(self, id: str, owner: str = "") -> Job:
        """Stops a job, now or before it begins; its pictures so far are kept.

        A job that has ended stays as it is.
        """
        self.job(id, owner)
        if self._store.end(id, "cancelled", only_if="queued"):
            self._changes.tell()
        elif (hand := self._worker.hand) is not None and hand.id == id:
            hand.cancelled = True
        return self.job(id, owner)

    def skip(self, id: str, owner: str = "") -> Job:
        """Leaves out the picture in hand (those that are drawn together with it too).

        Raises:
            JobStateError: the job is not being drawn.
        """
        self.job(id, owner)
        hand = self._worker.hand
        if hand is None or hand.id != id:
            raise JobStateError(f"The job {id} is not being drawn.", valid="a running job")
        hand.skipping = True
        return self.job(id, owner)

    def move(self, id: str, position: int, owner: str = "") -> Job:
        """Makes a waiting job the ``position``-th (from 0) of its owner's waiting jobs.

        Raises:
            JobStateError: the job does not wait.
        """
        if self.job(id, owner).status != "queued":
            raise JobStateError(f"The job {id} does not wait any more.", valid="a queued job")
        self._store.move(id, owner, max(0, position))
        self._changes.tell()
        return self.job(id, owner)

    def delete(self, id: str, owner: str = "") -> None:
        """Cancels a job, removes its pictures and forgets it.

        Raises:
            JobStateError: it is being drawn and did not stop in time.
        """
        job = self.cancel(id, owner)
        end = time.monotonic() + _PATIENCE_S
        while not job.over and time.monotonic() < end:
            job = self.wait(id, job.version, 1.0, owner)
        if not job.over:
            raise JobStateError(f"The job {id} has not stopped yet.", valid="to try again")
        self._store.delete(id)
        shutil.rmtree(job_folder(self._store, id), ignore_errors=True)
        self._changes.tell()

    def favourite(self, id: str, on: bool, owner: str = "") -> Job:
        """Marks a job, or takes the mark away."""
        self.job(id, owner)
        self._store.favourite(id, on)
        self._changes.tell()
        return self.job(id, owner)

    def preview(self, id: str, owner: str = "") -> bytes | None:
        """What the pictures in hand look like so far, as JPEG. Never waits.

        The first call asks for a preview and returns ``None``; it is there after the next step, as
        the job's version tells. Who calls again after every step sees every step, as long as the
        machine draws previews much faster than steps.
        """
        self.job(id, owner)
        hand = self._worker.hand
        return hand.preview() if hand is not None and hand.id == id else None

    def wait(self, id: str, after: int = 0, timeout: float = 30.0, owner: str = "") -> Job:
        """The job as soon as its version is another than ``after``, or as it is at the end.

        Args:
            id: the job.
            after: the version that is known already.
            timeout: seconds to wait at most.
            owner: whose job it is.
        """
        end = time.monotonic() + timeout
        while True:
            seen = self._changes.count
            job = self.job(id, owner)
            left = end - time.monotonic()
            if job.version != after or left <= 0:
                return job
            self._changes.wait(seen, left)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Has ``listener`` called after every change of any job, from any thread.

        Returns:
            What ends that.
        """
        return self._changes.listen(listener)

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state, of all owners."""
        return self._store.counts()

    def picture_count(self) -> int:
        """How many pictures there are, of all owners."""
        return self._store.picture_count()

    def _as_it_stands(self, job: Job, queue: list[str]) -> Job:
        hand = self._worker.hand
        if job.status == "running" and hand is not None and hand.id == job.id:
            return hand.over(job)
        if job.status == "queued" and job.id in queue:
            position = queue.index(job.id)
            # Its place changes whenever another job does; the version must tell.
            return replace(job, position=position, version=job.version * 1000 + position)
        return job
