"""What a batch has planned, has done and could not do, in an SQLite file inside its folder.

The order of writing is what nothing is lost by: the name of a picture stands here before the
picture is drawn, and the picture is durable before its job is marked done. A process that dies
between the two leaves a finished picture under a planned name, which the next one adopts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from studio.batch.locking import Presence, present, sweep
from studio.database import connect, transaction, writing
from studio.files import make_folder

HIDDEN = ".studio-batch"
"""The folder inside the batch's own that holds journal, locks and unfinished files."""

State = Literal["planned", "done", "failed"]

_APPLICATION = 0x53_42_4A_31  # "SBJ1"
_SCHEMA = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'done', 'failed')),
        owner TEXT,
        bytes INTEGER,
        seconds REAL,
        error TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID;
    CREATE INDEX owners ON jobs (owner) WHERE owner IS NOT NULL;
    CREATE TABLE reports (kind TEXT PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL)
    """,
)


@dataclass(frozen=True)
class Entry:
    """What the journal knows of one job.

    Args:
        id: SHA-256 of the resolved request and the weights.
        name: name of its picture, fixed when the job was first planned.
        state: where it stands.
        owner: the worker that is drawing it, if one is.
        bytes: size of the finished picture's file.
        seconds: what drawing it took.
        error: why it failed.
    """

    id: str
    name: str
    state: State
    owner: str | None
    bytes: int | None
    seconds: float | None
    error: str


class Journal:
    """The journal of one folder, as one worker uses it.

    Args:
        folder: the batch's output folder, made where it is missing.

    Raises:
        OutputError: the folder cannot be used, or holds a journal of a newer version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hidden = folder / HIDDEN
        make_folder(self.hidden)
        self.path = self.hidden / "journal.sqlite"
        self._database = connect(self.path, _SCHEMA, application=_APPLICATION)
        try:
            with self._change():
                self.presence = Presence(self.hidden)
                self._free_abandoned()
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Gives back what this worker has claimed, if the disk lets it, and closes."""
        try:
            with self._change():
                self._database.execute(
                    "UPDATE jobs SET owner = NULL WHERE owner = ?", (self.presence.name,)
                )
        except Exception:  # a full disk, say: without this worker's mark, others take them anyway
            if error is None:
                raise
        finally:
            self.presence.leave()
            self._database.close()

    def entries(self) -> dict[str, Entry]:
        """All jobs that were ever planned in this folder, by id."""
        with writing(self.path):
            rows = self._database.execute(
                "SELECT id, name, state, owner, bytes, seconds, error FROM jobs"
            )
            return {row["id"]: Entry(*row) for row in rows}

    def plan(self, names: Mapping[str, str]) -> None:
        """Plans new jobs: the name of the picture of each id.

        What another worker has planned in the meantime stays as it is; so a job may stay out whose
        name was taken.
        """
        with self._change():
            self._database.executemany(
                "INSERT OR IGNORE INTO jobs (id, name) VALUES (?, ?)", names.items()
            )

    def reopen(self, names: Mapping[str, str]) -> None:
        """Plans finished or failed jobs again, each by its id under the name given for it."""
        with self._change():
            self._database.executemany(
                "UPDATE jobs SET state = 'planned', error = '', name = ? "
                "WHERE id = ? AND owner IS NULL",
                [(name, job) for job, name in names.items()],
            )

    def claim(self, jobs: Sequence[str]) -> dict[str, str]:
        """Takes planned jobs that nobody has: the names of the pictures of those it got."""
        with self._change():
            return {
                row["id"]: row["name"]
                for job in jobs
                for row in self._database.execute(
                    "UPDATE jobs SET owner = ? "
                    "WHERE id = ? AND state = 'planned' AND owner IS NULL RETURNING id, name",
                    (self.presence.name, job),
                )
            }

    def rename(self, job: str, name: str) -> bool:
        """Gives a claimed job another name for its picture; false where that one is taken."""
        with self._change():
            renamed = self._database.execute(
                "UPDATE OR IGNORE jobs SET name = ? WHERE id = ?", (name, job)
            )
            return bool(renamed.rowcount)

    def done(self, job: str, *, size: int, seconds: float | None) -> None:
        """Marks a job done whose picture is durable: ``size`` bytes, drawn in ``seconds``."""
        self._finish(job, "done", size, seconds, "")

    def failed(self, job: str, error: str) -> None:
        """Marks a job that cannot be drawn."""
        self._finish(job, "failed", None, None, error)

    def free_abandoned(self) -> None:
        """Gives back the claims of workers that run no more, and sweeps up after them."""
        with self._change():
            self._free_abandoned()

    def report(self, kind: str) -> tuple[str, str] | None:
        """Name and digest of a report file of this kind that was written here, if one was."""
        with writing(self.path):
            row = self._database.execute(
                "SELECT name, digest FROM reports WHERE kind = ?", (kind,)
            ).fetchone()
            return row and (row["name"], row["digest"])

    def set_report(self, kind: str, name: str, digest: str) -> None:
        """Records a report file: it may be replaced later, for it is ours."""
        with self._change():
            self._database.execute(
                "INSERT OR REPLACE INTO reports VALUES (?, ?, ?)", (kind, name, digest)
            )

    def _finish(
        self, job: str, state: State, size: int | None, seconds: float | None, error: str
    ) -> None:
        with self._change():
            self._database.execute(
                "UPDATE jobs SET state = ?, owner = NULL, bytes = ?, seconds = ?, error = ? "
                "WHERE id = ?",
                (state, size, seconds, error, job),
            )

    def _free_abandoned(self) -> None:
        owners = self._database.execute("SELECT DISTINCT owner FROM jobs WHERE owner IS NOT NULL")
        gone = [(row["owner"],) for row in owners if not present(self.hidden, row["owner"])]
        self._database.executemany("UPDATE jobs SET owner = NULL WHERE owner = ?", gone)
        sweep(self.hidden)

    @contextmanager
    def _change(self) -> Iterator[None]:
        with writing(self.path), transaction(self._database):
            yield
