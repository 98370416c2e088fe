"""Worker processes that make batches ahead of the loop that uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")


def made_ahead(make: Callable[[int], T], keys: range, workers: int) -> Iterable[T]:
    """``make(key)`` of every key, in order.

    Args:
        make: gives tensors on the CPU, or dicts of them; it cannot use another device.
        workers: forked processes that make them ahead; 0: made here, one after another.
    """
    return DataLoader(
        _Made(make),
        sampler=keys,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )


class _Made(Dataset[T]):
    def __init__(self, make: Callable[[int], T]) -> None:
        self.make = make

    def __getitem__(self, key: int) -> T:
        return self.make(key)
