"""Is a thing drawn when it is asked for in other words than its label, or as people ask?

The judge names what is drawn, by the label and by the other words, from the same seeds. The
standard error of the difference is that over prompts.

    python -m benchmarks.words --data drawings.zip --each 120 --seeds 5
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.asking import CHINESE_PHRASES, PHRASES, STYLE_FIRST, STYLE_LAST, SYNONYMS, phrased
from benchmarks.command_line import command_line
from benchmarks.features import FeatureExtractor, Features
from benchmarks.judge import Gallery, gallery, ranks
from benchmarks.trials import Artist
from studio import Studio
from studio.training.dataset import Drawings
from studio.training.wording import plural, with_article

Asked = list[tuple[str, str]]
"""Prompts, and the label of what each asks for."""


def ways(labels: Sequence[str], chinese: Mapping[str, str], each: int) -> dict[str, Asked]:
    """Ways to ask for ``each`` of the things, and the synonyms of all of them."""
    known = [label for label in labels if label in chinese][:each]
    return {
        "synonyms": [(with_article(w), label) for w, label in SYNONYMS.items() if label in labels],
        "Chinese": [(f"一个{chinese[label]}", label) for label in known],
        "plurals": [(plural(label), label) for label in known],
        "phrased": phrased(PHRASES, {label: label for label in known}),
        "phrased, Chinese": phrased(CHINESE_PHRASES, {label: chinese[label] for label in known}),
        "style last": phrased(STYLE_LAST, {label: label for label in known}),
        "style first": phrased(STYLE_FIRST, {label: label for label in known}),
    }


class Namer:
    """Tells which prompts are drawn so that the judge names what they ask for."""

    def __init__(
        self,
        real: Gallery,
        extract: Callable[[Sequence[Image.Image]], Features],
        artists: Sequence[Artist],
    ) -> None:
        self.extract, self.artists = extract, artists
        self.prototypes = real.prototypes()
        self.place = {label: n for n, label in enumerate(real.labels)}

    def named(self, asked: Asked) -> npt.NDArray[np.float64]:
        """Share of the seeds in which each prompt is named rightly: [prompts], from 0 to 1."""
        right = [self.place[label] for _, label in asked]
        prompts = [prompt for prompt, _ in asked]
        found = [
            ranks(self.extract(artist.draw(prompts)), self.prototypes, right)
            for artist in self.artists
        ]
        shares: npt.NDArray[np.float64] = (np.asarray(found) == 0).mean(0)
        return shares


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the share that is named of every way to ask, and that of the labels alone."""
    parser = command_line("words", __doc__, model=True, data=True)
    parser.add_argument("--each", type=int, default=40, help="things asked for in each way (40)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of each prompt (1)")
    options = parser.parse_args(arguments)
    drawings, extract = Drawings.load(options.data), FeatureExtractor()
    real = gallery(drawings, 300, extract)
    studio = Studio(options.model)
    namer = Namer(real, extract, [Artist(studio, seed) for seed in range(options.seeds)])
    chinese = {row.label["en"]: row.label["zh"] for row in drawings.rows if row.label.get("zh")}
    for name, asked in ways(real.labels, chinese, options.each).items():
        labels = namer.named([(with_article(label), label) for _, label in asked])
        words = namer.named(asked)
        lost = words - labels
        print(
            f"{name:<18} label {labels.mean():.3f}  other words {words.mean():.3f}  "
            f"{lost.mean():+.3f}, standard error {lost.std() / len(lost) ** 0.5:.3f}  "
            f"({len(asked)} prompts)",
            flush=True,
        )


if __name__ == "__main__":
    main()
