"""``studio samplers``: the table of samplers and the schedules that each can run on."""

from __future__ import annotations

import json
from dataclasses import asdict

from studio.cli.flags import add_json_flag
from studio.cli.parser import Namespace, Parser
from studio.cli.table import print_table
from studio.schedulers import catalogue

_HEADS = ("sampler", "order", "model calls", "noise", "schedules", "description")


def configure(parser: Parser) -> None:
    """Adds ``--json``."""
    add_json_flag(parser, "everything, aliases too, as one JSON object")


def run(options: Namespace) -> int:
    """Prints the samplers and the schedules."""
    if options.json:
        keys = ("name", "aliases", "order", "evaluations", "stochastic", "distilled", "spacings")
        samplers = [asdict(row) for row in catalogue.samplers()]
        rows = [{key: row[key] for key in (*keys, "description")} for row in samplers]
        schedules = [asdict(row) for row in catalogue.schedules()]
        print(json.dumps({"samplers": rows, "schedules": schedules}))
        return 0
    print_table(_HEADS, ([row[head] for head in _HEADS] for row in catalogue.table()))
    print()
    print_table(
        ("schedule", "description"),
        ([row.name, row.description] for row in catalogue.schedules()),
    )
    return 0
