"""Draws with several processes of this machine, one GPU (or a share of the CPU) each."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from studio.batch.engine import Artist, Engine, Pack, Retries, drawn
from studio.batch.job import Job, Outcome
from studio.errors import StudioError

_ON_GPU = 8  # pictures of a pack
_SPAWN = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU


class Processes(Engine):
    """Workers that get their packs over pipes and end with this process.

    A worker that dies (killed for memory, say) is replaced, and what it had in hand is drawn by
    another.

    Args:
        artists: one for each worker, the first thing that is sent to it.
        together: jobs in a pack.
    """

    def __init__(self, artists: list[Artist], together: int = 1) -> None:
        self._together = together
        self._retries = Retries()
        self._ready: deque[Outcome] = deque()
        self._workers = [_Worker(artist) for artist in artists]

    def room(self) -> bool:
        """Whether a worker has nothing to do."""
        return not self._retries.packs and any(not worker.left for worker in self._workers)

    def size(self, job: Job) -> int:  # noqa: ARG002 (the workers know their devices)
        """The same for all."""
        return self._together

    def start(self, pack: Pack) -> None:
        """Gives the pack to a worker with nothing to do."""
        next(worker for worker in self._workers if not worker.left).start(pack)

    @property
    def busy(self) -> bool:
        """Whether any job is in hand."""
        waiting = self._ready or self._retries.packs or self._retries.given_up
        return bool(waiting) or any(worker.left for worker in self._workers)

    def next(self) -> Outcome:
        """The next outcome of any worker."""
        while True:
            while self._retries.packs and any(not worker.left for worker in self._workers):
                self.start(self._retries.packs.popleft())
            for waiting in (self._ready, self._retries.given_up):
                if waiting:
                    return waiting.popleft()
            busy = [worker for worker in self._workers if worker.left]
            found = wait([worker.pipe for worker in busy])
            for worker in busy:
                if worker.pipe in found:
                    self._hear(worker)

    def close(self) -> None:
        """Ends the workers at once."""
        for worker in self._workers:
            worker.end()

    def _hear(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            how = worker.end()
            self._retries.died(tuple(worker.left.values()), how)
            self._workers[self._workers.index(worker)] = _Worker(worker.artist)
            return
        if isinstance(message, StudioError):
            raise message
        del worker.left[message.job]
        self._ready.append(message)


class _Worker:
    def __init__(self, artist: Artist) -> None:
        self.artist = artist
        self.left: dict[str, Job] = {}
        self.pipe, its = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(its, artist), daemon=True)
        self._process.start()
        its.close()  # so that the pipe ends with the worker

    def start(self, pack: Pack) -> None:
        self.left = {job.id: job for job in pack}
        with suppress(OSError):  # it has died: the pipe says so when it is read
            self.pipe.send(pack)

    def end(self) -> str:
        """Ends the process, and says how it ended where it had done so by itself."""
        self.pipe.close()
        self._process.join(1 if not self._process.is_alive() else 0)
        self._process.kill()
        self._process.join()
        code = self._process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def _work(pipe: Connection, artist: Artist) -> None:
    """A worker's life: packs in, outcomes out, until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that runs the batch
    try:
        while True:
            for outcome in drawn(artist, pipe.recv()):
                pipe.send(outcome)
    except (EOFError, OSError):
        os._exit(0)  # nobody is left to draw for
    except StudioError as error:
        pipe.send(type(error)(error.what, valid=error.valid))


def each_device(
    workers: int, make: Callable[[str, int | None], Artist], device: str = "auto"
) -> tuple[list[Artist], int]:
    """One artist a worker, each on a GPU of its own as far as there are some; and a pack's size.

    Args:
        workers: how many.
        make: from the name of a device and the number of CPU threads (None = all).
        device: ``auto``, or what they all use.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus and device in ("auto", "cuda"):
        return [make(f"cuda:{index % gpus}", None) for index in range(workers)], _ON_GPU
    if device.startswith("cuda"):
        return [make(device, None) for _ in range(workers)], _ON_GPU
    threads = max(1, (os.cpu_count() or 1) // workers)
    return [make(device, threads) for _ in range(workers)], 1
