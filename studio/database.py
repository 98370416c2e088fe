"""The one way that SQLite files are opened: what is committed survives a kill and a power loss.

Write-ahead log, every commit synced to the disk, other processes waited for, and a schema that
grows by numbered steps.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from studio.errors import OutputError

BUSY_S = 60.0
"""How long a statement waits for another process or thread that is writing."""

_VALID = "a folder on a local disk that can be written to, with room in it"


def connect(path: Path, schema: Sequence[str], *, application: int) -> sqlite3.Connection:
    """Opens a database, made where it is missing and brought to the newest schema.

    A connection may be used from several threads, one at a time. Statements outside of
    :func:`transaction` commit by themselves. Rows are :class:`sqlite3.Row`.

    Args:
        path: the file; SQLite keeps two more beside it (``-wal``, ``-shm``) while it is open.
        schema: SQL scripts; script n takes version n to version n + 1. Once released, a script is
            never changed: new ones are added.
        application: mark of the file's kind, 1 to 2**31 - 1, so that no other database is taken
            for this one.

    Raises:
        OutputError: not a database of this kind, written by a newer version, read-only, full.
    """
    with writing(path):
        connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            _log_ahead(connection)
            connection.execute("PRAGMA journal_size_limit = 1048576")
            _check_kind(connection, path, application)
            _upgrade(connection, path, schema, application)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All statements within, or none of them; no other process writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite has rolled back by itself where the disk is full
            connection.execute("ROLLBACK")
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what SQLite raises within into one ``OutputError`` that names the file."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise OutputError(f"The database {path} cannot be used: {error}.", valid=_VALID) from error


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Turns the write-ahead log on. SQLite does not wait for others there, so this does."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _check_kind(connection: sqlite3.Connection, path: Path, application: int) -> None:
    kind = _pragma(connection, "application_id")
    with closing(connection.execute("SELECT count(*) FROM sqlite_master")) as cursor:
        empty = cursor.fetchone()[0] == 0
    if kind != application and not (kind == 0 and empty):
        raise OutputError(
            f"The database {path} was made by another program.", valid="another folder"
        )


def _upgrade(
    connection: sqlite3.Connection, path: Path, schema: Sequence[str], application: int
) -> None:
    if _pragma(connection, "user_version") == len(schema):
        return
    with transaction(connection):
        version = _pragma(connection, "user_version")  # another process may have been faster
        if version > len(schema):
            raise OutputError(
                f"The database {path} was written by a newer version of the studio.",
                valid="that version, or another folder",
            )
        for script in schema[version:]:
            for statement in script.split(";"):  # executescript() would commit in between
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(schema):d}")
        connection.execute(f"PRAGMA application_id = {application:d}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    with closing(connection.execute(f"PRAGMA {name}")) as cursor:
        return int(cursor.fetchone()[0])
