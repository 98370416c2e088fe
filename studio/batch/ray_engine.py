"""Draws on the machines of a Ray cluster, one actor a GPU.

The pictures come back through Ray to the process that runs the batch, which alone writes files and
journal: the machines need no folder in common. A node that dies costs the pictures in its hands,
which others draw; when the driver dies, its actors end, and the same command goes on.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from studio.batch.engine import Artist, Engine, Pack, Retries, drawn
from studio.batch.job import Job, Outcome
from studio.errors import StudioError, UnavailableError

_ON_GPU = 8  # pictures of a pack


class Cluster(Engine):
    """Actors that get a pack at a time. One that dies is replaced as soon as there is room for it.

    Args:
        artist: what each actor draws with.
        actors: how many.
        together: jobs in a pack.
        needs: resources of each, as Ray names them: ``{"num_gpus": 1}``.
    """

    def __init__(self, artist: Artist, actors: int, together: int, needs: dict[str, float]) -> None:
        # Ray's own types know neither actors nor half of its functions.
        ray: Any = importlib.import_module("ray")
        self._ray = ray
        self._make = ray.remote(_Actor).options(scheduling_strategy="SPREAD", **needs).remote
        self._artist, self._together = ray.put(artist), together
        self._retries = Retries()
        self._ready: deque[Outcome] = deque()
        self._idle: list[Any] = []
        self._calls: dict[Any, tuple[Any, Pack]] = {}  # what was asked -> (actor, its pack)
        for _ in range(actors):
            self._hire()

    def room(self) -> bool:
        """Whether an actor is up and has nothing to do."""
        self._hear(timeout=0 if self.busy or self._idle else 1)
        return bool(self._idle) and not self._retries.packs

    def size(self, job: Job) -> int:  # noqa: ARG002 (the actors know their devices)
        """The same for all."""
        return self._together

    def start(self, pack: Pack) -> None:
        """Gives the pack to an actor with nothing to do."""
        actor = self._idle.pop()
        self._calls[actor.draw.remote(pack)] = (actor, pack)

    @property
    def busy(self) -> bool:
        """Whether any job is in hand."""
        waiting = self._ready or self._retries.packs or self._retries.given_up
        return bool(waiting) or any(pack for _, pack in self._calls.values())

    def next(self) -> Outcome:
        """The next outcome of any actor."""
        while True:
            for waiting in (self._ready, self._retries.given_up):
                if waiting:
                    return waiting.popleft()
            while self._retries.packs and self._idle:
                self.start(self._retries.packs.popleft())
            self._hear(timeout=1)

    def close(self) -> None:
        """Ends the actors at once."""
        actors = [*self._idle, *(actor for actor, _ in self._calls.values())]
        for actor in actors:
            self._ray.kill(actor)
        self._idle, self._calls = [], {}

    def _hire(self) -> None:
        actor = self._make(self._artist)
        self._calls[actor.draw.remote(())] = (actor, ())  # answers once it is up

    def _hear(self, timeout: float) -> None:
        """Takes in what the actors have answered so far."""
        if not self._calls:
            return
        calls = list(self._calls)
        found, _ = self._ray.wait(
            calls, num_returns=len(calls) if not timeout else 1, timeout=timeout
        )
        for call in found:
            actor, pack = self._calls.pop(call)
            try:
                answer = self._ray.get(call)
            except self._ray.exceptions.RayError as error:  # the actor, its node or the answer died
                how = " ".join(str(error).split())[:200]
                self._retries.died(pack, how)
                self._ray.kill(actor)
                self._hire()
                continue
            if isinstance(answer, StudioError):
                raise answer
            self._idle.append(actor)
            self._ready += answer


class _Actor:
    """A process somewhere in the cluster, with a model of its own."""

    def __init__(self, artist: Artist) -> None:
        self._artist = artist

    def draw(self, pack: Pack) -> list[Outcome] | StudioError:
        """All outcomes of a pack, or why nothing can be drawn at all."""
        try:
            return list(drawn(self._artist, pack)) if pack else []
        except StudioError as error:
            return type(error)(error.what, valid=error.valid)


def cluster(
    make: Callable[[str, int | None], Artist], device: str = "auto", workers: int | None = None
) -> Cluster:
    """The engine of the cluster in ``RAY_ADDRESS``, or of one that is started on this machine.

    Args:
        make: an artist from the name of a device and the number of CPU threads (None = all).
        device: ``auto``, or what all actors use.
        workers: actors; None = one for each GPU, or for each machine where there is none.

    Raises:
        UnavailableError: Ray is not installed, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise UnavailableError(
            "--engine ray needs Ray.", valid="pip install 'latent-studio[ray]'"
        ) from None
    if not ray.is_initialized():
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            address = os.environ.get("RAY_ADDRESS", "this machine")
            raise UnavailableError(
                f"The Ray cluster at {address} cannot be reached: {error}."
            ) from error
    resources = ray.cluster_resources()
    gpus = 0 if device == "cpu" else int(resources.get("GPU", 0))
    if gpus:
        return Cluster(make("auto", None), workers or gpus, _ON_GPU, {"num_gpus": 1})
    nodes = sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))
    count = workers or nodes or 1
    cores = max(1, int(resources.get("CPU", 1)) // count)
    return Cluster(make("cpu", cores), count, 1, {"num_cpus": cores})
