"""That something changed: who waits wakes up, who listens is called."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress


class Changes:
    """Counts changes. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self.count = 0

    def tell(self) -> None:
        """There was a change."""
        with self._condition:
            self.count += 1
            self._condition.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def wait(self, seen: int, timeout_s: float) -> None:
        """Returns as soon as there were others than the ``seen`` ones, or after ``timeout_s``."""
        with self._condition:
            self._condition.wait_for(lambda: self.count != seen, timeout_s)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Has ``listener`` called after every change, by whoever made it.

        Returns:
            What ends that.
        """
        with self._condition:
            self._listeners.append(listener)

        def stop() -> None:
            with self._condition, suppress(ValueError):
                self._listeners.remove(listener)

        return stop
