"""``studio models``: the models that can be named; add yours, or have them forgotten."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from studio.cli.flags import add_json_flag
from studio.cli.parser import Namespace, Parser
from studio.cli.table import human_size, print_table
from studio.errors import ModelError
from studio.pipelines import registry
from studio.pipelines.cards import ModelCard, card, models, weights_size
from studio.schedulers.compatibility import PREDICTIONS


def configure(parser: Parser) -> None:
    """Adds ``--json`` and the two actions."""
    parser.usage = "studio models [--json] | add PATH [options] | remove NAME"
    parser.epilog = (
        "In place of a name, --model also takes a folder in the diffusers layout, a .safetensors "
        "file, or organisation/name@revision of a model on the hub that is already here."
    )
    add_json_flag(parser, "all that the cards say, as one JSON list")
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", required=False, parser_class=Parser
    )
    add = actions.add_parser("add", help="give a model of yours a name; its files stay in place")
    add.usage = "studio models add [options] PATH"
    add.add_argument("path", metavar="PATH", help="folder, .safetensors file or hub id")
    add.add_argument("--name", help="what to call it (default: the file's or folder's name)")
    add.add_argument("--licence", default="", metavar="TEXT", help="a note on its licence")
    add.add_argument(
        "--prediction",
        choices=PREDICTIONS,
        default="",
        help="what it predicts, where you know better than its tensors",
    )
    add.add_argument(
        "--allow-download", action="store_true", help="fetch a model of the hub that is not here"
    )
    remove = actions.add_parser("remove", help="forget a model that was added; its files stay")
    remove.usage = "studio models remove NAME"
    remove.add_argument("name", metavar="NAME", help="name of the model")


def run(options: Namespace) -> int:
    """Lists, adds or forgets."""
    if options.action == "add":
        return _add(options)
    if options.action == "remove":
        entry = registry.remove(options.name)
        print(f"{entry.name} is forgotten; {entry.path} stays.")
        return 0
    if options.json:
        print(json.dumps([_fields(card) for card in models()]))
        return 0
    print_table(
        ("model", "family", "licence", "size", "path", "description"),
        [*(_row(card) for card in models()), *_lost()],
    )
    return 0


def _add(options: Namespace) -> int:
    about = card(options.path, allow_download=options.allow_download)
    path = about.path.resolve()
    name = options.name or about.name.partition("@")[0].rpartition("/")[2]
    taken = {known.name for known in models()} - {entry.name for entry in registry.entries()}
    if name in taken or "/" in name or Path(name).exists():
        raise ModelError(
            f"The name {name!r} already means something else.", valid="another --name, without /"
        )
    entry = registry.Entry(
        name=name,
        path=str(path),
        family=about.family,
        sha256=about.weights_sha256(),
        size=weights_size(path),
        licence=options.licence,
        prediction=options.prediction,
    )
    registry.add(entry)
    print(f"{name}: {about.description}, {human_size(entry.size)}, sha256 {entry.sha256}")
    return 0


def _row(card: ModelCard) -> tuple[str, ...]:
    return (
        card.name,
        card.family,
        card.licence or "unknown",
        human_size(_size(card)) if _size(card) else "not here",
        str(card.path),
        card.description,
    )


def _lost() -> list[tuple[str, ...]]:
    """Models that were added and cannot be used now, and why."""
    rows: list[tuple[str, ...]] = []
    for entry in registry.entries():
        try:
            card(entry.name)
        except ModelError as error:
            rows.append(
                (entry.name, entry.family, entry.licence or "unknown", "", entry.path, str(error))
            )
    return rows


def _fields(card: ModelCard) -> dict[str, object]:
    return {**asdict(card), "path": str(card.path), "size": _size(card)}


def _size(card: ModelCard) -> int:
    return weights_size(card.path)
