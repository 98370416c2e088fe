"""Batches from Python: requests instead of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from studio.batch.artist import StudioArtist
from studio.batch.batch import run_batch
from studio.batch.engine import Here
from studio.batch.identity import open_seed
from studio.batch.job import Result, jobs_of
from studio.batch.journal import HIDDEN
from studio.batch.naming import TEMPLATE
from studio.batch.sheet import Row
from studio.pipelines.request import Request

if TYPE_CHECKING:
    from studio.facade import Studio


def batch_of_requests(
    studio: Studio,
    requests: Iterable[str | Request | Mapping[str, object]],
    folder: Path,
    template: str | None,
) -> Iterator[Result]:
    """See :meth:`studio.facade.Studio.batch`: checks all requests now, draws as it is asked."""
    rows = [_row(studio, index, asked) for index, asked in enumerate(requests, start=1)]
    artist = StudioArtist(studio=studio, inputs=folder / HIDDEN / "inputs")
    return run_batch(
        folder, list(jobs_of(rows)), lambda: Here(artist), template=template or TEMPLATE
    )


def _row(studio: Studio, index: int, asked: str | Request | Mapping[str, object]) -> Row:
    if isinstance(asked, str):
        fields: dict[str, object] = {"prompt": asked}
    elif isinstance(asked, Request):
        fields = asked.model_dump(include=asked.model_fields_set)
    else:
        fields = dict(asked)
    if "prompt" not in fields:
        Request.of(**fields)  # says so
    varied = fields.get("variation_strength", 0) not in (0, None)
    for name in ("seed", "variation_seed") if varied else ("seed",):
        if fields.get(name) in (None, -1):
            key = sorted((field, str(value)) for field, value in fields.items())
            fields[name] = open_seed(0, name, key)
    resolved = studio.resolve(str(fields.pop("prompt")), **fields)
    return Row(index, 0, resolved.prompt, resolved, resolved)
