"""Which way of sampling draws best? The judge's score of the same prompts in several settings.

Each ``--try`` is one setting: fields of a request as a YAML flow mapping without its braces;
``rank: 4`` is the best of four candidates as mini's own CLIP picks it.

    python -m benchmarks.settings --data drawings.zip --limit 60 \\
        --try "steps: 50" --try "steps: 10" --try "steps: 10, guidance_scale: 7" --try "rank: 4"
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import yaml
from PIL import Image

from benchmarks.command_line import command_line
from benchmarks.features import FeatureExtractor
from benchmarks.judge import caption, gallery, ranks, score
from studio import Studio
from studio.scoring import Scorer
from studio.training.dataset import Drawings


def setting(text: str) -> dict[str, Any]:
    """``steps: 10, schedule: Karras`` as fields of a request.

    Raises:
        argparse.ArgumentTypeError: it is no mapping.
    """
    try:
        found = yaml.safe_load(f"{{{text}}}")
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not 'field: value, ...'") from error
    if any(value is None for value in found.values()):
        raise argparse.ArgumentTypeError(f"{text!r} is not 'field: value, ...'")
    return dict(found)


def best_of(
    studio: Studio, scorer: Scorer | None, prompt: str, fields: dict[str, Any]
) -> Image.Image:
    """A picture of the prompt, seed 0; with ``rank`` the candidate that fits it best."""
    rest = {name: value for name, value in fields.items() if name != "rank"}
    drawn = [
        one.image for one in studio.generate(prompt, seed=0, count=fields.get("rank", 1), **rest)
    ]
    return drawn[scorer.ranked(drawn, prompt)[0]] if scorer and len(drawn) > 1 else drawn[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the score, the median place and the seconds a picture of every setting."""
    parser = command_line("settings", __doc__, model=True, data=True)
    parser.add_argument("--limit", type=int, default=60, help="prompts to draw (60)")
    parser.add_argument(
        "--try", dest="tries", type=setting, action="append", required=True, help="one setting"
    )
    options = parser.parse_args(arguments)

    extract = FeatureExtractor()
    real = gallery(Drawings.load(options.data), 300, extract)
    prototypes, labels = real.prototypes(), real.labels[: options.limit]
    studio = Studio(options.model)
    scorer = Scorer.load() if any("rank" in fields for fields in options.tries) else None
    for fields in options.tries:
        start = time.perf_counter()
        pictures = [best_of(studio, scorer, caption(label), fields) for label in labels]
        seconds = (time.perf_counter() - start) / len(pictures)
        found = ranks(extract(pictures), prototypes, range(len(labels)))
        name = ", ".join(f"{field}: {value}" for field, value in fields.items()) or "as it is"
        print(
            f"{name:<50} {score(found)}  median place {np.median(found) + 1:.0f}  {seconds:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
