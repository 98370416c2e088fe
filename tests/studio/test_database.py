from __future__ import annotations

import multiprocessing
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from studio.database import connect, transaction, writing
from studio.errors import OutputError

KIND = 77
FIRST = "CREATE TABLE jobs (id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX names ON jobs (name)"
SECOND = "ALTER TABLE jobs ADD COLUMN state TEXT DEFAULT 'new'"


def test_commits_are_synced_and_logged_ahead(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "a.sqlite", [FIRST], application=KIND)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert database.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert database.execute("PRAGMA busy_timeout").fetchone()[0] >= 10_000


def test_an_old_file_grows_into_the_new_schema_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with closing(connect(path, [FIRST], application=KIND)) as database:
        database.execute("INSERT INTO jobs (name) VALUES ('one')")
    with closing(connect(path, [FIRST, SECOND], application=KIND)) as database:
        assert tuple(database.execute("SELECT * FROM jobs").fetchone()) == (1, "one", "new")


def test_a_newer_file_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    connect(path, [FIRST, SECOND], application=KIND).close()
    before = path.read_bytes()
    with pytest.raises(OutputError, match="newer version"):
        connect(path, [FIRST], application=KIND)
    assert path.read_bytes() == before


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(OutputError, match="another program"):
        connect(path, [FIRST], application=KIND)


def test_what_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_text("certainly no database, " * 100, encoding="utf-8")
    with pytest.raises(OutputError, match=r"a\.sqlite cannot be used: file is not a database"):
        connect(path, [FIRST], application=KIND)


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "a.sqlite", [FIRST], application=KIND)) as database:
        with pytest.raises(sqlite3.IntegrityError), transaction(database):
            database.execute("INSERT INTO jobs (id, name) VALUES (1, 'lost'), (1, 'twice')")
        with transaction(database):
            database.execute("INSERT INTO jobs (name) VALUES ('kept')")
        assert [row["name"] for row in database.execute("SELECT name FROM jobs")] == ["kept"]


def test_a_failing_statement_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with closing(connect(path, [FIRST], application=KIND)) as database:
        database.execute("PRAGMA query_only = ON")
        with (
            pytest.raises(OutputError, match=r"a\.sqlite cannot be used: .*readonly"),
            writing(path),
        ):
            database.execute("INSERT INTO jobs (name) VALUES ('x')")


def _fill(path: Path, count: int) -> None:
    with closing(connect(path, [FIRST, SECOND], application=KIND)) as database:
        for _ in range(count):
            with transaction(database):
                database.execute("INSERT INTO jobs (name) VALUES ('x')")


def test_several_processes_open_and_write_one_new_file(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_fill, args=(path, 20)) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0]
    with closing(connect(path, [FIRST, SECOND], application=KIND)) as database:
        assert database.execute("SELECT count(*) FROM jobs").fetchone()[0] == 40
