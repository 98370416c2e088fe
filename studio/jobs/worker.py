"""The one thread that draws, with the one model that is in memory."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from studio.errors import Cancelled, StudioError
from studio.jobs.job import Job
from studio.jobs.progress import Progress
from studio.jobs.store import Store
from studio.picture import NAME, Picture
from studio.pipelines.request import Request

if TYPE_CHECKING:
    from studio.pipelines.drawing import Step

log = logging.getLogger(__name__)

_LOADING_S = 1.0  # patience with a model that is loaded ahead
_RETRY_S = 5.0  # after the disk refused to take note of something


class Artist(Protocol):
    """What the worker needs of :class:`studio.facade.Studio`."""

    def resolve(self, prompt: Request, /) -> Request:
        """The request with every open field filled."""

    def generate(
        self,
        prompt: Request,
        /,
        *,
        on_step: Callable[[Step], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Picture]:
        """Draws the request's pictures."""

    def load(self) -> object:
        """Loads the weights."""


class Worker:
    """Draws the jobs of a store, one at a time.

    Args:
        store: where jobs come from and pictures are recorded.
        artist: makes what draws with a model, by the model's name. The last one is kept.
        changed: called from the drawing thread after every change.
    """

    def __init__(
        self, store: Store, artist: Callable[[str], Artist], changed: Callable[[], None]
    ) -> None:
        self.hand: Progress | None = None
        self._store = store
        self._artist = artist
        self._changed = changed
        self._kept: tuple[str, Artist] | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drawing", daemon=True)
        self._warm: str | None = None

    @property
    def alive(self) -> bool:
        """Whether jobs are drawn."""
        return self._thread.is_alive() and not self._stopping.is_set()

    def start(self, warm: str | None) -> None:
        """Starts drawing; loads the model ``warm`` first where nothing waits."""
        self._warm = warm
        self._thread.start()

    def wake(self) -> None:
        """Something was put into the queue."""
        self._wake.set()

    def wind_down(self) -> None:
        """Has the thread begin no further picture. Returns at once."""
        self._stopping.set()
        self._wake.set()

    def stop(self, finish: bool, timeout_s: float) -> bool:
        """Ends the thread; what is left of the job in hand goes back into the queue.

        Args:
            finish: whether the picture in hand is finished first.
            timeout_s: how long to wait for it, and then once more for the step in hand.

        Returns:
            Whether it has ended. Importing a library or loading weights cannot be interrupted.
        """
        self.wind_down()
        if not self._thread.ident:
            return True
        if finish and self.hand is not None:
            self._thread.join(timeout_s)
        hand = self.hand
        if hand is not None:
            hand.skipping = True  # with `_stopping` set it is put back, see `_pictures`
            self._thread.join(timeout_s)
        self._thread.join(_LOADING_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                queue = self._store.queue()
                if queue:
                    self._draw(self._store.get(queue[0]))
                elif self._warm:
                    self._load(self._warm)
                else:
                    self._wake.wait()
            except StudioError:
                log.exception("the job store failed")
                self._stopping.wait(_RETRY_S)

    def _load(self, model: str) -> None:
        self._warm = None
        try:
            self._artist_of(model).load()
        except Exception:
            log.exception("the model %s could not be loaded ahead", model)

    def _artist_of(self, model: str) -> Artist:
        if self._kept is None or self._kept[0] != model:
            self._kept = None  # before the next is loaded: two may not fit
            gc.collect()
            torch = sys.modules.get("torch")
            if torch is not None and torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._kept = (model, self._artist(model))
        return self._kept[1]

    def _draw(self, job: Job) -> None:
        hand = Progress(job.id, job.request.count)
        self.hand = hand  # before the job begins: whoever cancels finds it here or in the queue
        if not self._store.begin(job.id):
            self.hand = None
            return
        self._changed()
        log.info("drawing", extra={"job": job.id, "model": job.request.model})
        try:
            whole = self._pictures(job, hand)
            if not whole:
                self._store.requeue(job.id)
            else:
                self._store.end(job.id, "done")
        except Cancelled:
            self._store.end(job.id, "cancelled")
        except StudioError as error:
            log.warning("failed: %s", error, extra={"job": job.id})
            self._store.end(job.id, "failed", str(error))
        except Exception as error:
            log.exception("failed", extra={"job": job.id})
            reason = f"Something unforeseen went wrong: {type(error).__name__}."
            self._store.end(job.id, "failed", reason)
        finally:
            self.hand = None
            self._changed()
            log.info("ended", extra={"job": job.id})

    def _pictures(self, job: Job, hand: Progress) -> bool:
        """Draws what is missing; false where the server stops before all of it is there."""
        singles = job.request.singles()
        numbers = {_key(single): number for number, single in enumerate(singles)}
        recorded = self._store.recorded(job.id)
        while missing := sorted(set(range(len(singles))) - recorded):
            first = missing[0]
            count = next((i for i, n in enumerate(missing) if n != first + i), len(missing))
            request = singles[first].model_copy(update={"count": count})
            hand.picture(first)
            try:
                drawn = self._artist_of(job.request.model).generate(
                    request,
                    on_step=lambda step: self._step(hand, step),
                    cancel=lambda: hand.cancelled or hand.skipping,
                )
                for picture in drawn:
                    number = numbers[_key(picture.request)]
                    self._save(job, number, picture)
                    recorded.add(number)
                    if self._stopping.is_set():
                        return len(recorded) == len(singles)
                    if hand.cancelled:
                        raise Cancelled("Cancelled between two pictures.")
                    hand.picture(min(number + 1, len(singles) - 1))
            except Cancelled:
                if hand.cancelled:
                    raise
                if self._stopping.is_set():
                    return False
                hand.skipping = False
                start = min(set(range(len(singles))) - recorded)
                for number in range(start, min(start + hand.in_hand, len(singles))):
                    self._store.add_picture(job.id, number, None)
                    recorded.add(number)
                self._changed()
        return True

    def _step(self, hand: Progress, step: Step) -> None:
        hand.step(step)
        hand.version = self._store.next_version()
        self._changed()

    def _save(self, job: Job, number: int, picture: Picture) -> None:
        path = picture.save(job_folder(self._store, job.id), name=f"{number + 1:05d}_{NAME}")
        self._store.add_picture(job.id, number, path)
        self._changed()


def job_folder(store: Store, id: str) -> Path:
    """Where the pictures of a job lie; each file name begins with the picture's number."""
    return store.folder / "pictures" / id


def adopt(store: Store, id: str) -> None:
    """Records the pictures that were saved when the server was killed before it took note."""
    recorded = store.recorded(id)
    folder = job_folder(store, id)
    for path in sorted(folder.glob("[0-9]*_*.png")) if folder.is_dir() else ():
        number = int(path.name.partition("_")[0]) - 1
        if number not in recorded:
            store.add_picture(id, number, path)
    for path in folder.glob(".*.part"):  # half-written when the server was killed
        path.unlink(missing_ok=True)


def _key(request: Request) -> tuple[int | None, int | None]:
    return request.seed, request.variation_seed
