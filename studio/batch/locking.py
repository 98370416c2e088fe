"""Which processes work on a folder, known from locks that the system itself takes back.

Every process holds a lock on a file of its own. However it ends, the lock goes with it at once;
while it lives, and even where it hangs or the machine sleeps, nobody takes its work. So no clock
has to be believed.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from studio.errors import OutputError

_ENDING = ".lock"


class Presence:
    """This worker's mark in a folder, from its making until :meth:`leave` or the process's end.

    Make it, and look at others, only while no other process does so: between making the file and
    locking it, it looks abandoned.

    Args:
        folder: where all workers put their marks; it must be there.

    Raises:
        OutputError: the folder cannot be written to, or its file system has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self.name = secrets.token_hex(8)
        self._path = folder / (self.name + _ENDING)
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            locked = _lock(self._descriptor)
        except OSError as error:
            raise OutputError(
                f"{self._path} cannot be locked: {error.strerror}.",
                valid="a folder on a local disk that can be written to",
            ) from error
        assert locked, "nobody else knows the name yet"

    def part(self, name: str) -> Path:
        """Where this worker writes an unfinished file; swept away by others if it dies."""
        return self._path.with_name(f"{self.name}.{name}.part")

    def leave(self) -> None:
        """Takes the mark away."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._path.unlink(missing_ok=True)


def present(folder: Path, name: str) -> bool:
    """Whether the worker of that name still runs."""
    try:
        descriptor = os.open(folder / (name + _ENDING), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Removes the marks and unfinished files of workers that run no more."""
    owners = {path.name.partition(".")[0] for path in folder.glob("*" + _ENDING)}
    parts = list(folder.glob("*.part"))
    living = {name for name in owners if present(folder, name)}
    for path in (*parts, *(folder / (name + _ENDING) for name in owners)):
        if path.name.partition(".")[0] not in living:
            path.unlink(missing_ok=True)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        # Of the file as opened, not of the process: two batches in one process exclude each other.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
