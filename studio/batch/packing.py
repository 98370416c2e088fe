"""Which jobs are drawn together, and how many."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from studio.batch.job import Job
from studio.pipelines.batching import shared_key


class Todo:
    """Jobs in the order in which they are to be drawn.

    That of the file, but for two things: those of one model together, for loading one takes long,
    and within them those that can share a U-Net call.
    """

    def __init__(self, jobs: Iterable[Job] = ()) -> None:
        self._groups: dict[str, dict[tuple[object, ...], deque[Job]]] = {}
        for job in jobs:
            groups = self._groups.setdefault(job.request.model, {})
            groups.setdefault(shared_key(job.request), deque()).append(job)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def take(self, size: Callable[[Job], int]) -> tuple[Job, ...]:
        """Removes and returns the next jobs that can be drawn together.

        Args:
            size: how many jobs like the one given make a pack, at least 1.
        """
        model, groups = next(iter(self._groups.items()))
        key, group = next(iter(groups.items()))
        count = min(size(group[0]), len(group))
        pack = tuple(group.popleft() for _ in range(count))
        if not group:
            del groups[key]
            if not groups:
                del self._groups[model]
        return pack


class PackSize:
    """How many pictures of a size a GPU draws at once, learned from the packs it has drawn.

    Args:
        usual: where nothing is known yet.
        most: never more; larger packs hardly save time.
    """

    FILLED = 0.8
    """Share of the memory that is taken; what is free is not free to the last byte."""

    def __init__(self, usual: int, most: int = 64) -> None:
        self._usual, self._most = usual, most
        self._each: dict[int, float] = {}  # pixels of a picture -> bytes that one more takes
        self._limit: dict[int, int] = {}

    def next(self, pixels: int, free: int) -> int:
        """The size of the next pack.

        Args:
            pixels: of one picture.
            free: bytes of memory that could be taken.
        """
        limit = self._limit.get(pixels, self._most)
        each = self._each.get(pixels)
        size = self._usual if each is None else int(free * self.FILLED / each)
        return max(1, min(size, limit))

    def drew(self, pixels: int, count: int, taken: int) -> None:
        """A pack of ``count`` pictures took ``taken`` bytes at its peak."""
        self._each[pixels] = max(1.0, taken / count)

    def overflowed(self, pixels: int, count: int) -> None:
        """Memory did not suffice for ``count``: half of it from now on."""
        self._limit[pixels] = max(1, count // 2)
