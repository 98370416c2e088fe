"""``studio models``: the models that can be named, with licence, size and folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from studio.cli.flags import add_json_flag
from studio.cli.parser import Namespace, Parser
from studio.cli.table import human_size, print_table
from studio.pipelines.components import ModelCard, models


def configure(parser: Parser) -> None:
    """Adds ``--json``."""
    parser.epilog = "A folder of weights in the diffusers layout may be named in place of a model."
    add_json_flag(parser, "all that the cards say, as one JSON list")


def run(options: Namespace) -> int:
    """Prints the model cards."""
    if options.json:
        print(json.dumps([_fields(card) for card in models()]))
        return 0
    print_table(
        ("model", "licence", "size", "folder", "description"),
        (
            (
                card.name,
                card.licence or "unknown",
                human_size(_size(card.folder)) if _size(card.folder) else "not here",
                str(card.folder),
                card.description,
            )
            for card in models()
        ),
    )
    return 0


def _fields(card: ModelCard) -> dict[str, object]:
    return {**asdict(card), "folder": str(card.folder), "size": _size(card.folder)}


def _size(folder: Path) -> int:
    """Bytes of all weights in a folder; 0 where there are none."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
