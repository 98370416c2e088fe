"""A full and a read-only disk: a file system of one megabyte, where mounting one is allowed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.batch.batch import run_batch
from studio.batch.engine import Here
from studio.batch.journal import HIDDEN
from studio.batch.pictures import decodes
from studio.errors import OutputError
from tests.studio.batch.stub import StubArtist, jobs

COUNT = 30


def mount(*options: str) -> bool:
    return subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def draw(folder: Path) -> int:
    results = run_batch(folder, jobs(COUNT), lambda: Here(StubArtist(noise=True)))
    return sum(result.drawn for result in results)


def test_a_full_disk_pauses_the_batch_with_nothing_partial(disk: Path) -> None:
    folder = disk / "out"
    with pytest.raises(OutputError, match=r"No space left|is full") as caught:
        draw(folder)
    assert caught.value.exit_code == 75
    there = sorted(path for path in folder.iterdir() if path.is_file())
    assert 3 < len(there) < COUNT
    assert all(map(decodes, there))
    assert not list((folder / HIDDEN).glob("*.part"))
    with pytest.raises(OutputError):  # still full: still nothing lost
        draw(folder)
    assert mount("-o", "remount,size=8m", str(disk))
    drawn = draw(folder)
    assert len(list(folder.glob("0*.png"))) == COUNT
    assert COUNT - len(there) - 2 <= drawn <= COUNT - len(there)


def test_a_read_only_folder_is_refused_at_once(disk: Path) -> None:
    assert mount("-o", "remount,ro", str(disk))
    with pytest.raises(OutputError) as caught:
        draw(disk / "out")
    assert str(disk) in str(caught.value)
