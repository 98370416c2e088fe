"""The tables before and after a batch."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from studio.batch.estimate import Plan, estimate
from studio.batch.job import Job
from studio.batch.sheet import BadRow
from studio.cli.table import human_size, print_table


def print_plan(folder: Path, jobs: Sequence[Job], bad: Sequence[BadRow], *, as_json: bool) -> None:
    """What ``studio batch`` would do; nothing is drawn or changed."""
    plan = estimate(folder, jobs, len(bad))
    if as_json:
        print(json.dumps({"event": "plan", **asdict(plan), "missing": plan.missing}))
        return
    rows = [
        ("pictures", str(plan.pictures)),
        ("duplicates, drawn once", str(plan.duplicates)),
        ("rows that cannot be drawn", str(plan.bad)),
        ("done already", str(plan.done)),
        ("to draw", str(plan.missing)),
        ("time", _time(plan)),
        ("disk", f"about {human_size(plan.size)} of {human_size(_free(folder))} free"),
    ]
    print_table(("plan", ""), rows)


def print_summary(folder: Path, counts: Mapping[str, int]) -> None:
    """What came of the batch, on standard error."""
    width = max(map(len, counts))
    lines = [f"  {name:<{width}}  {count}" for name, count in counts.items()]
    print("\n".join([f"studio: {folder}", *lines]), file=sys.stderr)


def _time(plan: Plan) -> str:
    if not plan.missing:
        return "none"
    if plan.seconds is None:
        return "known once the first pictures are drawn"
    return f"about {timedelta(seconds=round(plan.seconds))}"


def _free(folder: Path) -> int:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
