"""``studio info``: the recipes that pictures carry."""

from __future__ import annotations

from pathlib import Path

from studio.cli.flags import add_json_flag
from studio.cli.parser import Namespace, Parser
from studio.metadata import Recipe, read_recipe


def configure(parser: Parser) -> None:
    """Adds the pictures and ``--json``."""
    parser.usage = "studio info [options] PICTURE..."
    parser.add_argument(
        "pictures", type=Path, nargs="+", metavar="PICTURE", help="PNG, JPEG or WebP files"
    )
    add_json_flag(parser, "the exact recipe as one JSON object a line")


def run(options: Namespace) -> int:
    """Prints the recipes, of several pictures each below its path; all are read first."""
    recipes = [read_recipe(path) for path in options.pictures]
    if options.json:
        print("\n".join(recipe.model_dump_json() for recipe in recipes))
        return 0
    shown = [as_text(recipe) for recipe in recipes]
    if len(shown) > 1:
        shown = [f"{path}:\n{text}" for path, text in zip(options.pictures, shown, strict=True)]
    print("\n\n".join(shown))
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
