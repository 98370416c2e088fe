"""Names of a batch's pictures: fixed before the first one is drawn, and never those of others."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from studio.batch.job import Job
from studio.batch.pictures import holds
from studio.errors import OutputError
from studio.files import numbered
from studio.picture import filled, split_suffix

TEMPLATE = "{index}_{seed}_{prompt:40}"


class Names:
    """The names of a folder, those on disk and those that are planned.

    Args:
        folder: the batch's folder.
        planned: names in its journal.

    Raises:
        OutputError: the folder cannot be read.
    """

    def __init__(self, folder: Path, planned: Iterable[str]) -> None:
        self._folder = folder
        self._planned = {_key(name) for name in planned}
        try:
            with os.scandir(folder) as entries:
                self.sizes = {
                    entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries
                }
        except OSError as error:
            raise OutputError(f"{folder} cannot be read: {error.strerror}.") from error
        self._there = {_key(name) for name in self.sizes}

    def new(self, job: Job, template: str) -> str:
        """The name for a new job's picture; numbered where it is taken.

        A file that holds this very picture already (the journal was lost, say) counts as free.

        Raises:
            OutputError: the template cannot be filled.
        """
        stem, suffix = split_suffix(filled(template, job.request, index=f"{job.index:05d}"))
        return self._free(stem, suffix, job.id)

    def another(self, name: str, job: str) -> str:
        """A free name like ``name``, whose file turned out to be somebody else's."""
        path = Path(name)
        return self._free(path.stem, path.suffix, job, start=2)

    def _free(self, stem: str, suffix: str, job: str, start: int = 1) -> str:
        for number in itertools.count(start):
            name = numbered(stem, suffix, number)
            key = _key(name)
            if key in self._planned:
                continue
            path = self._folder / name
            if (key in self._there or os.path.lexists(path)) and not holds(path, job):
                continue
            self._planned.add(key)
            return name
        raise AssertionError("unreachable")


def _key(name: str) -> str:
    """What names have in common that some file system takes for the same."""
    return unicodedata.normalize("NFC", name).casefold()
