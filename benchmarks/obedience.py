"""Does mini follow words, not just names? Styles, colours, sides, sizes, counts, other words.

Every trial asks for combinations that training left out, checks each picture by a program, and
checks real scenes, composed of drawings, in the same way: that is the ceiling.

    python -m benchmarks.obedience --data drawings.zip --each 40
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.checks import border_colour, extent, half, nearest_hue, parts
from benchmarks.command_line import command_line
from benchmarks.features import FeatureExtractor, Features
from benchmarks.judge import Gallery, gallery, ranks
from benchmarks.sheet import draw, labelled_sheet
from studio.training.dataset import Drawings
from studio.training.scenes import BACKGROUNDS, COUNTS, HUES, Placed, Scene, SceneMaker, SceneMix
from studio.training.scenes import heldout_pair as heldout
from studio.training.wording import PIXEL_ART, on_background, plural, with_article, with_hue

STYLES = ("fluent-3d", "fluent-flat", "noto", "twemoji", "emojione")
"""Told apart: 3d render, flat style, detailed, simple cartoon style, clip art; and pixel art, which
is made of the first."""
SYNONYMS = {
    "pup": "dog", "hound": "dog", "stallion": "horse", "mare": "horse", "pony": "horse",
    "viper": "snake", "airliner": "airplane", "jet plane": "airplane", "spaceship": "rocket",
    "starship": "rocket", "cottage": "house with garden", "vessel": "ship", "specs": "glasses",
    "spectacles": "glasses", "chopper": "helicopter", "swine": "pig", "piglet": "pig",
    "calf": "cow", "hare": "rabbit", "primate": "monkey", "chimp": "monkey", "telly": "television",
    "tv set": "television", "brolly": "umbrella", "corncob": "ear of corn", "lager": "beer mug",
    "wineglass": "wine glass", "satsuma": "tangerine", "clementine": "tangerine",
    "cathedral": "church", "skyscraper": "office building", "clinic": "hospital", "frock": "dress",
    "bathing suit": "bikini", "trainers": "running shoe", "diamond ring": "ring", "blaze": "fire",
    "fire truck": "fire engine", "meteor": "shooting star", "cello": "violin", "cornet": "trumpet",
}  # fmt: skip
"""Words that no label and no keyword of the drawings holds, and the label that they mean."""


@dataclass(frozen=True)
class Case:
    """What is asked, and a real scene that shows it."""

    prompt: str
    scene: Scene
    answer: int


@dataclass(frozen=True)
class Trial:
    """Cases, and a check: which answer each picture gives; right where it is the case's own."""

    name: str
    cases: tuple[Case, ...]
    check: Callable[[Sequence[Image.Image], Sequence[Case]], Sequence[int]]
    options: int

    def rate(self, pictures: Sequence[Image.Image]) -> float:
        """Share of right answers of the pictures, one a case."""
        right = [case.answer for case in self.cases]
        return float(np.mean(np.asarray(self.check(pictures, self.cases)) == right))


def one_by_one(
    check: Callable[[Image.Image, Case], int],
) -> Callable[[Sequence[Image.Image], Sequence[Case]], Sequence[int]]:
    """A check that looks at every picture alone."""
    return lambda pictures, cases: [check(p, c) for p, c in zip(pictures, cases, strict=True)]


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
        styles, background, hue = self.styles(), self.background(), self.hue()
        return (
            *styles, background, self.chinese(background), hue, self.chinese(hue),
            self.side(), self.size(), self.count(),
        )  # fmt: skip

    def chinese(self, trial: Trial) -> Trial:
        """The same backgrounds or hues, asked for in Chinese."""
        asked = []
        for case in trial.cases:
            label = self.maker.drawings.rows[case.scene.placed[0].drawing].label["zh"]
            prompt = (
                f"{HUES[case.scene.hue][0]}的{label}"
                if case.scene.hue
                else on_background(label, case.scene.background, chinese=True)
            )
            asked.append(replace(case, prompt=prompt))
        return replace(trial, name=f"{trial.name}, zh", cases=tuple(asked))

    def styles(self) -> tuple[Trial, Trial]:
        """Nearest style, after what is common to all drawings of the thing is taken away.

        "style" takes away what real drawings of it have in common: what the model gives all its
        pictures, softness say, then counts as style. "style apart" takes away what the six
        pictures themselves have in common: are they told apart as the words ask?
        """
        rows, place = self.real.rows, {c: n for n, c in enumerate(self.real.concepts)}
        words = {row.style: row.style_words[0] for row in rows}
        sets = [
            (
                *(
                    Case(
                        f"{with_article(label)}, {words[style]}",
                        Scene("plain", (Placed(self.drawing[concept, style]),)),
                        answer,
                    )
                    for answer, style in enumerate(STYLES)
                ),
                Case(
                    f"{with_article(label)}, {PIXEL_ART[0]}",
                    Scene("pixel", (Placed(self.drawing[concept, STYLES[0]]),)),
                    len(STYLES),
                ),
            )
            for concept, label in zip(self.real.concepts, self.real.labels, strict=True)
            if all((concept, style) in self.drawing for style in STYLES)
        ]
        options = len(STYLES) + 1
        rest = self.real.features - self.prototypes[[place[row.concept] for row in rows]]
        pixel_art = self._features([one[-1].scene for one in sets])
        pixel_art -= self.prototypes[[place[self._concept(one[-1])] for one in sets]]
        means = np.stack(
            [
                *(rest[[row.style == style for row in rows]].mean(0) for style in STYLES),
                pixel_art.mean(0),
            ]
        ).astype(np.float32)

        def nearest(own: Features) -> list[int]:
            found = [ranks(own, means, [n] * len(own)) for n in range(options)]
            return [of_one.index(0) for of_one in zip(*found, strict=True)]

        def alone(pictures: Sequence[Image.Image], cases: Sequence[Case]) -> list[int]:
            concepts = [place[self._concept(case)] for case in cases]
            return nearest(self.extract(pictures) - self.prototypes[concepts])

        def apart(pictures: Sequence[Image.Image], cases: Sequence[Case]) -> list[int]:
            features = self.extract(pictures).reshape(-1, options, means.shape[1])
            own = features - features.mean(1, keepdims=True) + means.mean(0)
            return nearest(own.reshape(len(cases), -1))

        some = sets[: max(1, self.each // options)]
        return (
            Trial("style", self._some([case for one in sets for case in one]), alone, options),
            Trial("style apart", tuple(case for one in some for case in one), apart, options),
        )

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
            one_by_one(lambda p, _: border_colour(p, colours)),
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
            "hue", self._some(cases), one_by_one(lambda p, _: nearest_hue(p, hues)), len(hues)
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
        return Trial("size", self._some(cases), one_by_one(lambda p, _: int(extent(p) > 2 / 3)), 2)

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

    def names(self, prompts: Sequence[tuple[str, str]], model: str) -> float:
        """Share of prompts whose picture is named rightly; (prompt, label) pairs."""
        place = {label: n for n, label in enumerate(self.real.labels)}
        pictures = draw([prompt for prompt, _ in prompts], model, seed=0)
        found = ranks(
            self.extract(pictures), self.prototypes, [place[label] for _, label in prompts]
        )
        return float((np.asarray(found) < 1).mean())

    def _concept(self, case: Case) -> str:
        return self.maker.drawings.rows[case.scene.placed[0].drawing].concept

    def _features(self, scenes: Sequence[Scene]) -> Features:
        rng = np.random.default_rng(0)
        pictures = [Image.fromarray(self.maker.picture(scene, rng)) for scene in scenes]
        return self.extract(pictures)

    def _things(self) -> list[tuple[str, int]]:
        pairs = zip(self.real.concepts, self.real.labels, strict=True)
        return [(label, self.drawing[concept, "noto"]) for concept, label in pairs]

    def _some(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        return tuple(self.rng.sample(list(cases), min(self.each, len(cases))))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the share of right answers of every trial, of real scenes and of mini."""
    options = _options(arguments)
    drawings = Drawings.load(options.data)
    trials = Trials(drawings, options.each)
    shown, labels = [], []
    for trial in trials.all():
        rng = np.random.default_rng(0)
        real = [Image.fromarray(trials.maker.picture(case.scene, rng)) for case in trial.cases]
        drawn = draw([case.prompt for case in trial.cases], options.model, seed=0)
        print(
            f"{trial.name:<14} real {trial.rate(real):.3f}  drawn {trial.rate(drawn):.3f}  "
            f"chance {1 / trial.options:.3f}  ({len(drawn)} pictures)",
            flush=True,
        )
        if trial.cases[0].prompt.isascii():  # the sheet's font has no Chinese
            shown += drawn[:8]
            labels += [case.prompt for case in trial.cases[:8]]
    words = {row.label["en"]: row.label.get("zh") or "" for row in drawings.rows}
    known = [label for label in trials.real.labels[: options.each] if words[label]]
    meant = [(s, label) for s, label in SYNONYMS.items() if label in trials.real.labels]
    for name, asked in {
        "labels": [(with_article(label), label) for label in known],
        "chinese": [(f"一个{words[label]}", label) for label in known],
        "meant": [(with_article(label), label) for _, label in meant],
        "synonyms": [(with_article(word), label) for word, label in meant],
    }.items():
        rate = trials.names(asked, options.model)
        print(f"{name:<14} drawn {rate:.3f}  ({len(asked)} pictures)", flush=True)
    if options.sheet:
        labelled_sheet(shown, labels).save(options.sheet)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line("obedience", __doc__, model=True, data=True)
    parser.add_argument("--each", type=int, default=40, help="pictures a trial (40)")
    parser.add_argument("--sheet", type=Path, help="PNG of some of the drawn pictures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
