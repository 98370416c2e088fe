"""Is what mini draws a copy? Each picture beside the training drawings nearest to it.

Nearness is the cosine of features of an independent network. For scale, the same is measured for
real drawings that training left out, against those it saw: two sets often draw a thing alike.

    python -m benchmarks.neighbours --data drawings.zip --sheet neighbours.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from benchmarks.command_line import command_line
from benchmarks.features import FeatureExtractor, Features
from benchmarks.judge import unit
from benchmarks.sheet import PROMPTS, draw, labelled_sheet, read_prompts
from studio import Studio
from studio.pipelines.fitting import opaque
from studio.training.dataset import Drawings


def nearest(features: Features, known: Features) -> tuple[list[int], list[float]]:
    """Index of the row of ``known`` [M, D] nearest to each of ``features`` [N, D], and the cosine
    after the mean of ``known`` is taken away."""
    centre = known.mean(0)
    cosines = unit(features - centre) @ unit(known - centre).T
    return [int(n) for n in cosines.argmax(1)], [float(c) for c in cosines.max(1)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints how near pictures come to training drawings; saves the sheet of pairs."""
    parser = command_line("neighbours", __doc__, model=True, data=True)
    parser.add_argument("--limit", type=int, default=32, help="prompts to draw (32)")
    parser.add_argument("--sheet", type=Path, help="PNG: every picture beside its neighbour")
    options = parser.parse_args(arguments)

    drawings, extract = Drawings.load(options.data), FeatureExtractor()
    seen = [n for n, row in enumerate(drawings.rows) if not row.heldout]
    left_out = [n for n, row in enumerate(drawings.rows) if row.heldout][:200]
    shown = [Image.fromarray(drawings.pixels[n]) for n in seen]
    known = np.concatenate(
        [extract(shown[at : at + 256]) for at in track(range(0, len(shown), 256), "looking")]
    )
    prompts = read_prompts(PROMPTS)[: options.limit]
    pictures = draw(prompts, Studio(options.model), seed=0)
    places, drawn = nearest(extract(pictures), known)
    _, real = nearest(extract([Image.fromarray(drawings.pixels[n]) for n in left_out]), known)
    for name, cosines in (("drawn by the model", drawn), ("real, left out", real)):
        low, middle, high = np.quantile(cosines, (0.1, 0.5, 0.9))
        print(f"{name:<20} cosine {low:.2f} {middle:.2f} {high:.2f} (deciles 1, 5, 9)")
    if options.sheet:
        pairs, labels = [], []
        for prompt, picture, place, cosine in zip(prompts, pictures, places, drawn, strict=True):
            row = drawings.rows[seen[place]]
            pairs += [picture, opaque(shown[place])]
            labels += [prompt, f"{cosine:.2f} {row.label['en']}, {row.style}"]
        labelled_sheet(pairs, labels).save(options.sheet)
        print(f"sheet {options.sheet}: left the picture, right its nearest training drawing")


if __name__ == "__main__":
    main()
