"""Draws a list of prompts into one labelled sheet.

python -m benchmarks.sheet --out docs/pictures/sheet.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.progress import track

from benchmarks.command_line import command_line
from studio import Studio
from studio.contact_sheet import ContactSheet

PROMPTS = Path(__file__).with_name("everyday.txt")


def read_prompts(path: Path) -> list[str]:
    """The prompts of a text file, one a line; empty lines and lines that begin with # are not."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def labelled_sheet(pictures: Sequence[Image.Image], labels: Sequence[str]) -> Image.Image:
    """Pictures of one size in a square, each above its label, which may take two lines."""
    sheet = ContactSheet(len(pictures), pictures[0].size, lines=2)
    for picture, label in zip(pictures, labels, strict=True):
        sheet.add(picture, label)
    return sheet.image


def draw(
    prompts: Sequence[str], studio: Studio, *, seed: int, steps: int | None = None
) -> list[Image.Image]:
    """One picture of each prompt, all from the same seed."""
    return [
        next(studio.generate(prompt, seed=seed, steps=steps)).image
        for prompt in track(prompts, "drawing")
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws every prompt once and saves the sheet."""
    parser = command_line("sheet", __doc__, model=True)
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="text file, one a line")
    parser.add_argument("--steps", type=int, help="steps of each picture (the model's own)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every picture (0)")
    options = parser.parse_args(arguments)
    prompts = read_prompts(options.prompts)
    pictures = draw(prompts, Studio(options.model), seed=options.seed, steps=options.steps)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    labelled_sheet(pictures, prompts).save(options.out)
    print(f"{len(prompts)} pictures in {options.out}")


if __name__ == "__main__":
    main()
