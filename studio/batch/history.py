"""How fast each model has drawn on this machine, for estimates before the first picture."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from studio.batch.job import Job, Result
from studio.errors import OutputError
from studio.files import make_folder, overwrite


def work(job: Job) -> int:
    """What drawing a picture takes, about in proportion: its pixels times its steps."""
    request = job.request
    return (request.width or 0) * (request.height or 0) * (request.steps or 1)


def pace(model: str) -> float | None:
    """Seconds per unit of :func:`work` when this model last drew here; None = never."""
    found = _read().get(model)
    return found if isinstance(found, float) and found > 0 else None


def remember(results: Iterable[Result]) -> None:
    """Notes how fast the pictures of a batch were drawn; what cannot be written is forgotten."""
    sums: dict[str, tuple[float, int]] = {}
    for result in results:
        if result.drawn and result.seconds:
            seconds, done = sums.get(result.job.request.model, (0.0, 0))
            sums[result.job.request.model] = seconds + result.seconds, done + work(result.job)
    if not sums:
        return
    paces = {**_read(), **{model: seconds / done for model, (seconds, done) in sums.items()}}
    path = _path()
    with suppress(OutputError, OSError):
        make_folder(path.parent)
        part = path.with_name(f"{secrets.token_hex(8)}.part")
        overwrite(path, json.dumps(paces).encode(), part=part)


def _read() -> dict[str, object]:
    with suppress(OSError, ValueError):
        content = json.loads(_path().read_bytes())
        if isinstance(content, dict):
            return content
    return {}


def _path() -> Path:
    return user_cache_path("latent-studio") / "pace.json"
