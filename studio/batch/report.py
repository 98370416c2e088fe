"""The files beside the pictures once a batch has ended.

``index.html``, ``contact_sheet.png``, a grid for each row that was multiplied by lists, and
``failed.jsonl`` with the rows that came to nothing, which can be run as it is. All follow from the
pictures and errors alone, so that a resumed batch leaves the same files as one never stopped.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from studio.batch.index_page import index_page
from studio.batch.job import Result
from studio.batch.journal import Journal
from studio.batch.sheet import BadRow
from studio.contact_sheet import ContactSheet
from studio.errors import PictureError
from studio.files import numbered, overwrite
from studio.picture_files import read_pixels

MOST_ON_A_SHEET = 400
"""Pictures of one contact sheet; more make several."""
_MOST_IN_A_GRID = 1000

FAILED = "failed.jsonl"


@dataclass(frozen=True)
class Report:
    """One file.

    Args:
        name: in the batch's folder.
        made_from: text that its content follows from.
        content: makes it; None where the file should not be there.
    """

    name: str
    made_from: str
    content: Callable[[], bytes] | None


def write_reports(
    journal: Journal, results: Sequence[Result], bad: Sequence[BadRow] = ()
) -> Iterator[Path]:
    """Writes what is new or has changed since it was last written, and gives its path.

    A file of somebody else that has such a name is left alone: ours is numbered then.

    Args:
        journal: of the folder.
        results: of all jobs, in the order of the batch.
        bad: rows that could not be read.

    Raises:
        OutputError: disk full, read-only, ...
    """
    for report in _reports(results, bad):
        name, before = journal.report(report.name) or (_free_name(journal, report.name), "")
        digest = hashlib.sha256(report.made_from.encode(errors="surrogatepass")).hexdigest()
        path = journal.folder / name
        if report.content is None:
            if before:
                path.unlink(missing_ok=True)
                journal.set_report(report.name, name, "")
            continue
        if before == digest and path.exists():
            continue
        if not before:  # it is ours from here on, also if the process is killed while writing
            journal.set_report(report.name, name, "begun")
        overwrite(path, report.content(), part=journal.presence.part("report"))
        journal.set_report(report.name, name, digest)
        yield path


def _reports(results: Sequence[Result], bad: Sequence[BadRow]) -> Iterator[Report]:
    failed = "".join(f"{line}\n" for line in _failed_rows(results, bad))
    yield Report(FAILED, failed, failed.encode if failed else None)
    done = [result for result in results if result.path is not None]
    for number, start in enumerate(range(0, max(len(done), 1), MOST_ON_A_SHEET), start=1):
        name = numbered("contact_sheet", ".png", number)
        yield _Sheet(done[start : start + MOST_ON_A_SHEET]).report(name)
    for table in tables(results):
        yield table.report()
    page = index_page(results, bad)
    yield Report("index.html", page, page.encode)


def _failed_rows(results: Sequence[Result], bad: Sequence[BadRow]) -> Iterator[str]:
    """One JSON object for each; ``#error`` is a remark, which a prompt file may hold."""
    rows = [
        (result.job.row.index, {**result.job.row.fields(), "#error": result.error})
        for result in results
        if result.error
    ]
    rows += [(row.index, dict(row.fields)) for row in bad]
    for _, fields in sorted(rows, key=lambda row: row[0]):
        yield json.dumps(fields, ensure_ascii=False)


@dataclass(frozen=True)
class _Sheet:
    """A contact sheet of finished pictures."""

    members: Sequence[Result]

    def report(self, name: str) -> Report:
        made_from = "\n".join(f"{result.job.id} {result.job.name}" for result in self.members)
        return Report(name, made_from, self.png if self.members else None)

    def png(self) -> bytes:
        first = self.members[0].job.request
        sheet = ContactSheet(len(self.members), (first.width or 512, first.height or 512))
        for result in self.members:
            label = f"{result.job.index} {result.job.request.prompt}"
            sheet.add(_pixels(result), " ".join(label.split()))
        return sheet.png()


@dataclass(frozen=True)
class Table:
    """The pictures of one row over its last two lists: columns are the last one's values.

    Args:
        name: of the file.
        cells: the result at each (column, row).
        columns: labels from left to right.
        rows: labels from top to bottom; one empty label where there is one list only.
    """

    name: str
    cells: Mapping[tuple[str, str], Result]
    columns: tuple[str, ...]
    rows: tuple[str, ...]

    def report(self) -> Report:
        """The file."""
        made_from = "\n".join(f"{x} {y} {r.job.id} {r.state}" for (x, y), r in self.cells.items())
        return Report(self.name, f"{self.columns}{self.rows}{made_from}", self.png)

    def png(self) -> bytes:
        """The labelled grid; what has failed is an empty place."""
        first = next(iter(self.cells.values())).job.request
        sheet = ContactSheet(
            len(self.columns) * len(self.rows),
            (first.width or 512, first.height or 512),
            heads=self.columns,
            sides=self.rows if self.rows != ("",) else (),
        )
        for y in self.rows:
            for x in self.columns:
                result = self.cells.get((x, y))
                sheet.add(_pixels(result) if result else None)
        return sheet.png()


def tables(results: Sequence[Result]) -> Iterator[Table]:
    """The tables of all rows that were multiplied by lists (``--each``)."""
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        row, request = result.job.row, result.job.row.request
        if row.axes:
            same = request.seed if "seed" not in dict(row.axes) else None
            groups.setdefault((row.line, row.text, row.axes[:-2], same), []).append(result)
    for number, members in enumerate(groups.values(), start=1):
        cells = {}
        for result in members:
            y, x = ("", *(f"{field} {text}" for field, text in result.job.row.axes))[-2:]
            cells[x, y] = result
        if 1 < len(cells) <= _MOST_IN_A_GRID:
            columns, rows = (tuple(dict.fromkeys(labels)) for labels in zip(*cells, strict=True))
            yield Table(f"grid_{number:03d}.png", cells, columns, rows)


def _pixels(result: Result) -> Image.Image | None:
    try:
        return read_pixels(result.path).convert("RGB") if result.path else None
    except PictureError:  # edited by others since
        return None


def _free_name(journal: Journal, name: str) -> str:
    path = Path(name)
    names = (numbered(path.stem, path.suffix, number) for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(journal.folder / name))
