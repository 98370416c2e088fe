"""What holds for every test."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Takes what the imports made out of the collector's sight: parts that leave memory are each
    followed by a whole collection, which would walk all of it hundreds of times."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """And back again, for the end of the process."""
    gc.unfreeze()
