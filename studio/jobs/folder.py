"""The folder of a service, which one process uses at a time."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from studio.errors import OutputError


def locked(folder: Path) -> sqlite3.Connection:
    """Makes the folder where it is missing and holds a lock on it.

    Returns:
        What holds the lock until it is closed, or the process ends, however that ends.

    Raises:
        OutputError: the folder cannot be used, or another process uses it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"Cannot use the folder {folder}: {error.strerror}.", valid="a folder to write to"
        ) from None
    path = folder / "lock.db"
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        connection.close()
        raise OutputError(
            f"Another server uses the folder {folder} ({error}).", valid="another folder"
        ) from None
    return connection
