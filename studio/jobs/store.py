"""Jobs on the disk: what is written here survives a kill and a power loss."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from studio import database
from studio.errors import JobNotFound, RequestError
from studio.jobs.job import Job, Status
from studio.pipelines.request import Request

_APPLICATION = 0x4C534A42  # "LSJB"
_SCHEMA = (
    """
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        owner TEXT NOT NULL,
        request TEXT NOT NULL,
        prompt TEXT NOT NULL,
        status TEXT NOT NULL,
        created REAL NOT NULL,
        started REAL,
        ended REAL,
        error TEXT NOT NULL DEFAULT '',
        favourite INTEGER NOT NULL DEFAULT 0,
        place INTEGER NOT NULL DEFAULT 0,
        version INTEGER NOT NULL
    );
    CREATE INDEX jobs_by_owner ON jobs (owner, number);
    CREATE INDEX jobs_by_place ON jobs (status, place);
    CREATE TABLE pictures (
        job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        file TEXT,
        PRIMARY KEY (job, number)
    ) WITHOUT ROWID
    """,
)
_FRONT = "(SELECT COALESCE(MIN(place), 0) - 1 FROM jobs WHERE status = 'queued')"
_BACK = "(SELECT COALESCE(MAX(place), 0) + 1 FROM jobs WHERE status = 'queued')"


class Store:
    """The table of all jobs, for several threads.

    Reading never waits for a commit that is on its way to the disk.

    Args:
        folder: holds ``jobs.db`` and the pictures; their paths are kept relative to it.

    Raises:
        OutputError: the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / "jobs.db"
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._writer = database.connect(self._path, _SCHEMA, application=_APPLICATION)
        self._reader = database.connect(self._path, _SCHEMA, application=_APPLICATION)
        # Versions go on where an earlier run of the server ended, as long as clocks do.
        self._version = time.time_ns() // 1_000_000

    def close(self) -> None:
        """Closes the files."""
        with self._write_lock, self._read_lock:
            self._writer.close()
            self._reader.close()

    def next_version(self) -> int:
        """A number that was never given before."""
        with self._write_lock:
            return self._bumped()

    def add(self, job: Job, queue_size: int) -> bool:
        """Puts a new job at the end of the queue; false where that holds ``queue_size`` jobs."""
        with self._writing() as connection:
            (waiting,) = connection.execute(
                "SELECT COUNT(*) FROM jobs WHERE status = 'queued'"
            ).fetchone()
            if waiting >= queue_size:
                return False
            connection.execute(
                "INSERT INTO jobs (id, owner, request, prompt, status, created, place, version)"
                f" VALUES (?, ?, ?, ?, 'queued', ?, {_BACK}, ?)",
                (
                    job.id,
                    job.owner,
                    job.request.to_json(),
                    f"{job.request.prompt}\n{job.request.negative_prompt}",
                    job.created,
                    self._bumped(),
                ),
            )
        return True

    def get(self, id: str) -> Job:
        """One job.

        Raises:
            JobNotFound: there is none of this name.
        """
        found = self._jobs("WHERE id = ?", (id,))
        if not found:
            raise JobNotFound(f"There is no job {id[:80]!r}.", valid="a job of yours")
        return found[0]

    def find(
        self,
        owner: str,
        text: str = "",
        status: Status | None = None,
        favourites: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> list[Job]:
        """Jobs of one owner, the newest first; ``text`` is looked for in the prompts."""
        clauses, values = ["owner = ?"], [owner]
        if text:
            clauses.append("prompt LIKE ? ESCAPE '\\'")
            plain = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            values.append(f"%{plain}%")
        if status:
            clauses.append("status = ?")
            values.append(status)
        if favourites:
            clauses.append("favourite = 1")
        return self._jobs(
            f"WHERE {' AND '.join(clauses)} ORDER BY number DESC LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )

    def queue(self) -> list[str]:
        """The waiting jobs of all owners, the next one first."""
        with self._reading() as connection:
            rows = connection.execute("SELECT id FROM jobs WHERE status = 'queued' ORDER BY place")
            return [row["id"] for row in rows.fetchall()]

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        with self._reading() as connection:
            rows = connection.execute("SELECT status, COUNT(*) AS n FROM jobs GROUP BY status")
            return {row["status"]: row["n"] for row in rows.fetchall()}

    def picture_count(self) -> int:
        """How many pictures there are."""
        with self._reading() as connection:
            rows = connection.execute("SELECT COUNT(*) FROM pictures WHERE file IS NOT NULL")
            return int(rows.fetchone()[0])

    def recorded(self, id: str) -> set[int]:
        """Indices of the pictures of a job that are drawn or skipped."""
        with self._reading() as connection:
            rows = connection.execute("SELECT number FROM pictures WHERE job = ?", (id,))
            return {row["number"] for row in rows.fetchall()}

    def begin(self, id: str) -> bool:
        """A job is drawn from now on; false where it does not wait any more."""
        changes = "status = 'running', started = COALESCE(started, ?)"
        return self._update(id, changes, time.time(), only_if="queued")

    def end(self, id: str, status: Status, error: str = "", *, only_if: Status = "running") -> bool:
        """A job has ended; false, and nothing is done, where it is not in the state ``only_if``."""
        changes = "status = ?, ended = ?, error = ?"
        return self._update(id, changes, status, time.time(), error, only_if=only_if)

    def requeue(self, id: str) -> None:
        """A job that was begun becomes the next one to be drawn."""
        self._update(id, f"status = 'queued', place = {_FRONT}")

    def requeue_all(self) -> list[str]:
        """The same for all that an earlier run of the server left unfinished; names them."""
        with self._reading() as connection:
            rows = connection.execute("SELECT id FROM jobs WHERE status = 'running'").fetchall()
        for row in rows:
            self.requeue(row["id"])
        return [row["id"] for row in rows]

    def favourite(self, id: str, on: bool) -> None:
        """Marks a job, or takes the mark away."""
        self._update(id, "favourite = ?", on)

    def add_picture(self, id: str, number: int, path: Path | None) -> None:
        """Picture ``number`` of a job lies in the file ``path``; ``None``: it was skipped."""
        file = path and path.relative_to(self.folder).as_posix()
        with self._writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO pictures VALUES (?, ?, ?)", (id, number, file)
            )
            self._touch(connection, id)

    def move(self, id: str, owner: str, position: int) -> None:
        """Gives a waiting job another place among those of its owner, who trade places."""
        with self._writing() as connection:
            rows = connection.execute(
                "SELECT id, place FROM jobs WHERE status = 'queued' AND owner = ? ORDER BY place",
                (owner,),
            ).fetchall()
            order = [row["id"] for row in rows if row["id"] != id]
            order.insert(position, id)
            for name, row in zip(order, rows, strict=True):
                connection.execute("UPDATE jobs SET place = ? WHERE id = ?", (row["place"], name))
            self._touch(connection, id)

    def delete(self, id: str) -> None:
        """Forgets a job; its files stay."""
        with self._writing() as connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", (id,))
            self._bumped()

    def _update(
        self, id: str, assignments: str, *values: object, only_if: Status | None = None
    ) -> bool:
        with self._writing() as connection:
            cursor = connection.execute(
                f"UPDATE jobs SET {assignments} WHERE id = ? AND status = COALESCE(?, status)",
                (*values, id, only_if),
            )
            if cursor.rowcount == 1:
                self._touch(connection, id)
            return cursor.rowcount == 1

    def _touch(self, connection: sqlite3.Connection, id: str) -> None:
        connection.execute("UPDATE jobs SET version = ? WHERE id = ?", (self._bumped(), id))

    def _bumped(self) -> int:
        self._version += 1
        return self._version

    def _jobs(self, where: str, values: Iterable[object]) -> list[Job]:
        with self._reading() as connection:
            rows = connection.execute(f"SELECT * FROM jobs {where}", tuple(values)).fetchall()
            return [self._job(row, self._pictures(connection, row["id"])) for row in rows]

    def _pictures(self, connection: sqlite3.Connection, id: str) -> list[str | None]:
        rows = connection.execute("SELECT file FROM pictures WHERE job = ? ORDER BY number", (id,))
        return [row["file"] for row in rows.fetchall()]

    def _job(self, row: sqlite3.Row, files: list[str | None]) -> Job:
        names = ("id", "owner", "status", "created", "started", "ended", "error", "version")
        paths = tuple(self.folder / file for file in files if file is not None)
        return Job(
            request=_request(row["request"]),
            pictures=paths,
            skipped=len(files) - len(paths),
            favourite=bool(row["favourite"]),
            **{name: row[name] for name in names},
        )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock, database.writing(self._path), database.transaction(self._writer):
            yield self._writer

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._read_lock, database.writing(self._path):
            yield self._reader


@lru_cache(maxsize=256)  # a job that is watched is read many times
def _request(text: str) -> Request:
    try:
        return Request.from_json(text)
    except RequestError:  # accepted by an older version with other rules: history shows it still
        return Request.model_construct(**json.loads(text))
