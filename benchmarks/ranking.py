"""What choosing among candidates is worth: how often the best of k shows the thing asked for.

Every prompt is drawn with many seeds. Mini's own CLIP puts the candidates in order, the judge says
which of them show the thing. Of all ways to pick k of them, the share in which the first of the k
is right stands against the share of right candidates, so that no luck of a single k counts. The
standard error is that over prompts.

    python -m benchmarks.ranking --data drawings.zip --limit 300 --candidates 12
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import numpy.typing as npt

from benchmarks.command_line import command_line
from benchmarks.features import FeatureExtractor
from benchmarks.judge import caption, gallery, ranks
from benchmarks.sheet import draw
from studio import Studio
from studio.scoring import Scorer
from studio.training.dataset import Drawings


def best_of(
    scores: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], count: int
) -> npt.NDArray[np.float64]:
    """Chance that the best of ``count`` candidates is right, over all ways to pick that many.

    Args:
        scores: [candidates, prompts], the higher the better.
        right: of the same shape.

    Returns:
        [prompts], from 0 to 1.
    """
    candidates = len(scores)
    order = np.argsort(-scores, axis=0, kind="stable")
    # The candidate at a place is the best of those picked if the others come from behind it.
    ways = [comb(candidates - 1 - place, count - 1) for place in range(candidates)]
    shares = np.array(ways, float) / comb(candidates, count)
    chance: npt.NDArray[np.float64] = shares @ np.take_along_axis(right, order, 0)
    return chance


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the share of right candidates, and of the best of 2, 4, 8 ... of them."""
    parser = command_line("ranking", __doc__, model=True, data=True)
    parser.add_argument("--limit", type=int, default=60, help="prompts to draw (60)")
    parser.add_argument("--candidates", type=int, default=12, help="seeds of each prompt (12)")
    options = parser.parse_args(arguments)

    studio, extract, scorer = Studio(options.model), FeatureExtractor(), Scorer.load()
    real = gallery(Drawings.load(options.data), 300, extract)
    prompts = [caption(label) for label in real.labels[: options.limit]]
    prototypes, asked = real.prototypes(), range(len(prompts))
    scores, right = [], []
    for seed in range(options.candidates):
        pictures = draw(prompts, studio, seed=seed)
        pairs = zip(pictures, prompts, strict=True)
        scores.append([float(scorer.sureness([one], text)[0]) for one, text in pairs])
        right.append(np.asarray(ranks(extract(pictures), prototypes, asked)) == 0)
    scored, shown = np.array(scores), np.stack(right)
    print(f"any candidate: {shown.mean():.3f}  one of all: {shown.any(0).mean():.3f}")
    count = 2
    while count <= options.candidates:
        gain = best_of(scored, shown, count) - shown.mean(0)
        error = gain.std() / len(gain) ** 0.5
        print(
            f"best of {count}: {shown.mean() + gain.mean():.3f}  "
            f"{gain.mean():+.3f}, standard error {error:.3f}"
        )
        count *= 2


if __name__ == "__main__":
    main()
