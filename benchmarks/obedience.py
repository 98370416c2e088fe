"""Does mini follow words, not just names? Styles, colours, sides, sizes, counts.

Every trial asks for combinations that training left out, checks each picture by a program, and
checks real scenes, composed of drawings, in the same way: that is the ceiling.

    python -m benchmarks.obedience --data drawings.zip --each 40
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.asking import otherwise
from benchmarks.checks import extent, half, nearest_hue, parts
from benchmarks.command_line import command_line
from benchmarks.features import FeatureExtractor
from benchmarks.judge import Gallery, gallery
from benchmarks.sheet import labelled_sheet
from benchmarks.styles import style_trials
from benchmarks.trials import Artist, Case, Trial, one_by_one, some
from studio import Studio
from studio.colours import border_colour
from studio.training.dataset import Drawings
from studio.training.scenes import BACKGROUNDS, COUNTS, HUES, Placed, Scene, SceneMaker, SceneMix
from studio.training.scenes import heldout_pair as heldout
from studio.training.wording import on_background, plural, with_article, with_hue


class Trials:
    """The trials over the everyday things that are drawn most often."""

    def __init__(self, drawings: Drawings, each: int) -> None:
        self.maker = SceneMaker(drawings, SceneMix())
        self.extract = FeatureExtractor()
        self.real: Gallery = gallery(drawings, 300, self.extract)
        self.each = each
        self.prototypes = self.real.prototypes()
        self.drawing = {
            (row.concept, row.style): n for n, row in enumerate(drawings.rows) if row.everyday
        }
        self.rng = random.Random(0)

    def all(self) -> tuple[Trial, ...]:
        styles = style_trials(self.maker, self.real, self.extract, self.each)
        background, hue = self.background(), self.hue()
        shown = background, hue, self.side(), self.size(), self.count()
        chinese = self.chinese(background), self.chinese(hue)
        return *styles, *shown, *map(otherwise, shown), *chinese

    def chinese(self, trial: Trial) -> Trial:
        """The same backgrounds or hues, asked for in Chinese."""
        prompts = []
        for case in trial.cases:
            label = self.maker.drawings.rows[case.scene.placed[0].drawing].label["zh"]
            prompts.append(
                f"{HUES[case.scene.hue][0]}的{label}"
                if case.scene.hue
                else on_background(label, case.scene.background, chinese=True)
            )
        return trial.asked("zh", prompts)

    def background(self) -> Trial:
        """Nearest named colour of the picture's border, by hue first."""
        colours = [name for name in BACKGROUNDS if name not in ("white", "light blue")]
        cases = [
            Case(
                on_background(with_article(label), colour),
                Scene("background", (Placed(drawing, size=0.85),), colour),
                colours.index(colour),
            )
            for label, drawing in self._things()
            for colour in colours
            if heldout(label, colour)
        ]
        return Trial(
            "background",
            self._some(cases),
            one_by_one(lambda p, _: colours.index(border_colour(p, colours))),
            len(colours),
        )

    def hue(self) -> Trial:
        """Nearest named hue of what is drawn."""
        hues = list(HUES)
        rows = self.maker.drawings.rows
        cases = [
            Case(
                with_article(with_hue(label, hue)),
                Scene("hue", (Placed(drawing),), hue=hue),
                hues.index(hue),
            )
            for label, drawing in self._things()
            for hue in hues
            if rows[drawing].hue is not None and heldout(hue, label)
        ]
        return Trial(
            "hue",
            self._some(cases),
            one_by_one(lambda p, _: nearest_hue(p, hues)),
            len(hues),
        )

    def side(self) -> Trial:
        """On which half which of the two things is seen."""
        things = self._things()
        cases: list[Case] = []
        while len(cases) < 4 * self.each:
            (one, first), (two, second) = self.rng.sample(things, 2)
            if heldout(one, two):
                placed = (Placed(first, 0.26, 0.5, 0.45), Placed(second, 0.74, 0.5, 0.45))
                prompt = f"{with_article(one)} to the left of {with_article(two)}"
                cases.append(Case(prompt, Scene("pair", placed, side="left"), 0))

        def check(picture: Image.Image, case: Case) -> int:
            concepts = [self.maker.drawings.rows[p.drawing].concept for p in case.scene.placed]
            two = self.prototypes[self.real.places(concepts)]
            seen = self.extract([half(picture, 0), half(picture, 1)]) - self.prototypes.mean(0)
            near = seen @ (two - self.prototypes.mean(0)).T
            return int(near[0, 0] + near[1, 1] <= near[0, 1] + near[1, 0])

        return Trial("side", self._some(cases), one_by_one(check), 2)

    def size(self) -> Trial:
        """Whether the thing takes up more than two thirds of the picture's side."""
        cases = [
            Case(f"a {word} {label}", Scene("size", (Placed(drawing, size=size),)), large)
            for label, drawing in self._things()
            for large, (word, size) in enumerate((("small", 0.36), ("large", 0.96)))
        ]
        return Trial(
            "size",
            self._some(cases),
            one_by_one(lambda p, _: int(extent(p) > 2 / 3)),
            2,
        )

    def count(self) -> Trial:
        """Parts that stand apart on the background."""
        spots = {
            2: ((0.27, 0.5), (0.73, 0.5)),
            3: ((0.27, 0.28), (0.73, 0.28), (0.5, 0.73)),
            4: ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
        }
        cases = [
            Case(
                f"{COUNTS[number][0]} {plural(label)}",
                Scene("count", tuple(Placed(drawing, x, y, 0.42) for x, y in spots[number])),
                number,
            )
            for label, drawing in self._things()
            for number in spots
        ]
        return Trial("count", self._some(cases), one_by_one(lambda p, _: parts(p)), 3)

    def _things(self) -> list[tuple[str, int]]:
        pairs = zip(self.real.concepts, self.real.labels, strict=True)
        return [(label, self.drawing[concept, "noto"]) for concept, label in pairs]

    def _some(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        return some(cases, self.each, self.rng)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the share of right answers of every trial, of real scenes and of mini."""
    options = _options(arguments)
    drawings = Drawings.load(options.data)
    trials = Trials(drawings, options.each)
    artist = Artist(Studio(options.model))
    shown = dict[str, Image.Image]()
    for trial in trials.all():
        drawn = artist.draw([case.prompt for case in trial.cases])
        print(trial.line(trial.rate(trial.real(trials.maker)), drawn), flush=True)
        if trial.cases[0].prompt.isascii():  # the sheet's font has no Chinese
            prompts = [case.prompt for case in trial.cases[:8]]
            shown |= zip(prompts, drawn[:8], strict=True)
    if options.sheet:
        labelled_sheet([*shown.values()], [*shown]).save(options.sheet)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line("obedience", __doc__, model=True, data=True)
    parser.add_argument("--each", type=int, default=40, help="pictures a trial (40)")
    parser.add_argument("--sheet", type=Path, help="PNG of some of the drawn pictures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
