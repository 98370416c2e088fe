"""``studio info``: the recipe that a picture carries."""

from __future__ import annotations

from pathlib import Path

from studio.cli.flags import add_json_flag
from studio.cli.parser import Namespace, Parser
from studio.metadata import Recipe, read_recipe


def configure(parser: Parser) -> None:
    """Adds the picture and ``--json``."""
    parser.add_argument("picture", type=Path, metavar="PICTURE", help="PNG, JPEG or WebP file")
    add_json_flag(parser, "the exact recipe as one JSON object")


def run(options: Namespace) -> int:
    """Prints the recipe."""
    recipe = read_recipe(options.picture)
    print(recipe.model_dump_json() if options.json else as_text(recipe))
    return 0


def as_text(recipe: Recipe) -> str:
    """The recipe for people: the text that other tools show, then what only ours knows."""
    versions = ", ".join(f"{name.replace('_', '-')} {text}" for name, text in recipe.versions)
    place = [recipe.device, recipe.precision, f"attention {recipe.attention}"]
    if recipe.threads is not None:
        place.append(f"threads {recipe.threads}")
    lines = {
        "Weights": f"{recipe.model}, sha256 {recipe.weights_sha256}",
        "Drawn with": versions,
        "Drawn on": ", ".join(place),
        "Pixels": f"sha256 {recipe.pixel_sha256}",
    }
    if recipe.timings is not None:
        lines["Time"] = f"{recipe.timings.total_s:.2f} s"
    if recipe.recovery:
        lines["Recovery"] = "; ".join(recipe.recovery)
    return "\n".join(
        [recipe.parameters(), "", *(f"{name}: {text}" for name, text in lines.items())]
    )
