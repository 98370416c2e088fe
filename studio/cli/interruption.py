"""Ctrl-C once means: finish the picture in hand. Twice means: now."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self


class Interruption:
    """While it is entered, the first SIGINT or SIGTERM is only remembered.

    The second one does what the first would have done. SIGTERM is what a cluster sends before it
    takes a machine back. Outside of the main thread nothing changes.

    Args:
        notice: called at the first signal.
    """

    def __init__(self, notice: Callable[[], None]) -> None:
        self._notice = notice
        self._before: dict[signal.Signals, Any] = {}
        self.asked = False
        """Whether a signal came."""

    def __enter__(self) -> Self:
        for kind in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[kind] = signal.signal(kind, self._remember)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _remember(self, kind: int, frame: FrameType | None) -> None:  # noqa: ARG002 (their form)
        self.asked = True
        self._restore()
        self._notice()

    def _restore(self) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)
        self._before.clear()
