"""Who draws a batch's pictures: this process itself, or several workers with one device each.

An engine only draws. It neither writes files nor knows the journal: all that is at the hands of
the one process that runs the batch, so that whatever happens to a worker costs the pictures in its
hands and no more.
"""

from __future__ import annotations

import abc
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from studio.batch.job import Job, Outcome
from studio.errors import Cancelled, ModelError, StudioError, UnavailableError

Pack = tuple[Job, ...]

MOST_DEATHS = 5
"""So often may a worker die while a job is in its hands, before the job is given up."""


class Artist(Protocol):
    """Draws packs; it can be pickled before it has drawn the first."""

    def pack_size(self, job: Job) -> int:
        """How many jobs like this one are best drawn together, at least 1."""

    def draw(self, pack: Pack) -> Iterator[Outcome]:
        """Draws the pictures of a pack, alike but for prompts and seeds, in any order.

        Raises:
            RunError, RequestError: one failed; which, nobody knows where there are several.
            ModelError, UnavailableError: nothing can be drawn at all.
        """


class Engine(abc.ABC):
    """Takes packs and gives back what came of each of their jobs."""

    @abc.abstractmethod
    def room(self) -> bool:
        """Whether it can take another pack now."""

    @abc.abstractmethod
    def size(self, job: Job) -> int:
        """How many jobs like this one should make a pack."""

    @abc.abstractmethod
    def start(self, pack: Pack) -> None:
        """Takes a pack."""

    @abc.abstractmethod
    def next(self) -> Outcome:
        """Waits for one job in hand to end.

        Raises:
            ModelError, UnavailableError: nothing can be drawn at all.
        """

    @property
    @abc.abstractmethod
    def busy(self) -> bool:
        """Whether there are jobs in hand."""

    @abc.abstractmethod
    def close(self) -> None:
        """Lets go of all that is in hand."""


class Here(Engine):
    """Draws in this process, one pack after the other."""

    def __init__(self, artist: Artist) -> None:
        self._artist = artist
        self._outcomes: Iterator[Outcome] = iter(())
        self._left = 0

    def room(self) -> bool:
        """Only where nothing is in hand."""
        return not self._left

    def size(self, job: Job) -> int:
        """As the artist likes."""
        return self._artist.pack_size(job)

    def start(self, pack: Pack) -> None:
        """Takes a pack; drawing begins when its first outcome is asked for."""
        self._outcomes, self._left = drawn(self._artist, pack), len(pack)

    def next(self) -> Outcome:
        """Draws."""
        outcome = next(self._outcomes)
        self._left -= 1
        return outcome

    @property
    def busy(self) -> bool:
        """Whether the pack in hand has jobs left."""
        return self._left > 0

    def close(self) -> None:
        """Draws no more of the pack in hand."""
        self._outcomes, self._left = iter(()), 0


def drawn(artist: Artist, pack: Pack) -> Iterator[Outcome]:
    """Exactly one outcome for each job: a failure costs nobody but the one that failed.

    Raises:
        ModelError, UnavailableError: nothing can be drawn at all.
        Cancelled: asked to stop at once.
    """
    left = {job.id: job for job in pack}
    try:
        for outcome in artist.draw(pack):
            del left[outcome.job]
            yield outcome
    except (ModelError, UnavailableError, Cancelled):
        raise
    except Exception as error:  # whatever a library raises over one row, the others go on
        if len(pack) == 1:
            yield failure(pack[0], error)
            return
    for job in left.values():  # each alone, for its own picture or its own error
        yield from drawn(artist, (job,))


def failure(job: Job, error: Exception) -> Outcome:
    """The outcome of a job that failed."""
    text = " ".join(str(error).split()) or type(error).__name__
    kind = "" if isinstance(error, StudioError) else f"{type(error).__name__}: "
    return Outcome(job.id, error=f"{kind}{text}")


class Retries:
    """Packs whose worker died, to be drawn by another one, each job alone."""

    def __init__(self) -> None:
        self._deaths: Counter[str] = Counter()
        self.packs: deque[Pack] = deque()
        self.given_up: deque[Outcome] = deque()

    def died(self, jobs: Sequence[Job], how: str) -> None:
        """The worker that had these jobs in hand died."""
        for job in jobs:
            self._deaths[job.id] += 1
            times = self._deaths[job.id]
            if times < MOST_DEATHS:
                self.packs.append((job,))
            else:
                error = f"The worker died {times} times while drawing this picture: {how}."
                self.given_up.append(Outcome(job.id, error=error))


MakeEngine = Callable[[Artist], Engine]
