"""Is a thing drawn in the style that the words ask for?

python -m benchmarks.styles --data drawings.zip --each 120 --seeds 4
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.pipeline import make_pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

from benchmarks.checks import nearest_drawing, on_cells
from benchmarks.command_line import command_line
from benchmarks.features import FeatureExtractor
from benchmarks.judge import Gallery, gallery
from benchmarks.sheet import labelled_sheet
from benchmarks.trials import Artist, Case, Trial, one_by_one, some
from studio import Studio
from studio.training.dataset import Drawings
from studio.training.recolouring import CELLS
from studio.training.scenes import Placed, Scene, SceneMaker, SceneMix
from studio.training.vae import to_pixels, to_tensor
from studio.training.wording import PIXEL_ART, with_article

STYLES = ("fluent-3d", "fluent-flat", "noto", "twemoji", "emojione")
"""Told apart: 3d render, flat style, detailed, simple cartoon style, clip art; and pixel art, which
is made of the first."""
PIXEL = len(STYLES)
OPTIONS = len(STYLES) + 1
SHOWN = 32
"""Things on a sheet."""
NOISE = 0.3
"""Noise in the latents of softened drawings, in their own deviation: about as soft as mini's."""


def style_trials(
    maker: SceneMaker, real: Gallery, extract: FeatureExtractor, each: int
) -> tuple[Trial, ...]:
    """Which style each picture is in, by two checks.

    "style": which of the real drawings of the same thing is nearest, by pixels, or whether it is
    pixel art; real ones are right by definition. "look": by what drawings of other things look
    like in each style (see :class:`Looks`). "new" and "seen" are for things whose drawing in that
    style training left out, and for those that it had, without pixel art.
    """
    rows = maker.drawings.rows
    sets = _sets(maker, real)
    rng = np.random.default_rng(0)
    drawings = {
        rows[one[0].scene.placed[0].drawing].concept: [
            Image.fromarray(maker.picture(case.scene, rng)) for case in one[:PIXEL]
        ]
        for one in sets
    }

    def nearest(picture: Image.Image, case: Case) -> int:
        concept = rows[case.scene.placed[0].drawing].concept
        return PIXEL if on_cells(picture, CELLS) else nearest_drawing(picture, drawings[concept])

    looks = Looks(maker, real, extract)
    cases = [case for one in sets for case in one]
    single = [case for case in cases if case.scene.kind == "plain"]
    new = [case for case in single if rows[case.scene.placed[0].drawing].heldout]
    seen = [case for case in single if not rows[case.scene.placed[0].drawing].heldout]

    def both(which: str, cases: Sequence[Case]) -> tuple[Trial, Trial]:
        asked = some(cases, each, random.Random(0))
        return (
            Trial(f"style{which}", asked, one_by_one(nearest), OPTIONS),
            Trial(f"look{which}", asked, lambda pictures, _: looks(pictures), OPTIONS),
        )

    return *both("", cases), *both(" new", new), *both(" seen", seen)


class Looks:
    """Tells styles apart that it learned from drawings of other things, clear and softened.

    A logistic regression on the first layers of the judge's network; softened by mini's VAE with
    noise in the latents, so that it does not take softness for a style.
    """

    def __init__(
        self, maker: SceneMaker, real: Gallery, extract: FeatureExtractor, things: int = 250
    ) -> None:
        self.extract = extract
        judged, rng = set(real.concepts), np.random.default_rng(0)
        drawing = _places(maker)
        others = sorted({concept for concept, _ in drawing} - judged)
        pictures, styles = [], []
        for concept in rng.permutation(others)[:things]:
            there = [style for style in STYLES if (concept, style) in drawing]
            if not there:
                continue
            scenes = [_plain(drawing[concept, style]) for style in there]
            scenes.append(_pixel_art(drawing[concept, str(rng.choice(there))]))
            pictures += [Image.fromarray(maker.picture(scene, rng)) for scene in scenes]
            styles += [*map(STYLES.index, there), PIXEL]
        both = [*pictures, *softened(pictures)]
        self.model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        self.model.fit(extract.textures(both), [*styles, *styles])

    def __call__(self, pictures: Sequence[Image.Image]) -> list[int]:
        return [int(style) for style in self.model.predict(self.extract.textures(pictures))]


@torch.inference_mode()
def softened(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Pictures of one size through mini's VAE, with noise in their latents."""
    vae = cast(Any, AutoencoderKL).from_pretrained(
        str(files("studio.configs") / "mini" / "vae"), torch_dtype=torch.float32
    )
    generator, soft = torch.Generator().manual_seed(0), list[Image.Image]()
    for start in range(0, len(pictures), 16):
        pixels = to_tensor(np.stack([np.asarray(one) for one in pictures[start : start + 16]]))
        latents = vae.encode(pixels).latent_dist.mode()
        noise = torch.randn(latents.shape, generator=generator)
        drawn = to_pixels(vae.decode(latents + NOISE * latents.std() * noise).sample)
        soft += map(Image.fromarray, drawn)
    return soft


def _sets(maker: SceneMaker, real: Gallery) -> list[tuple[Case, ...]]:
    """Every thing that has a drawing in all the styles, asked for in each of them."""
    rows = maker.drawings.rows
    drawing = _places(maker)
    words = {row.style: row.style_words[0] for row in rows}

    def looks(concept: str) -> list[tuple[str, Scene]]:
        return [
            *((words[style], _plain(drawing[concept, style])) for style in STYLES),
            (PIXEL_ART[0], _pixel_art(drawing[concept, STYLES[0]])),
        ]

    return [
        tuple(
            Case(f"{with_article(label)}, {word}", scene, answer)
            for answer, (word, scene) in enumerate(looks(concept))
        )
        for concept, label in zip(real.concepts, real.labels, strict=True)
        if all((concept, style) in drawing for style in STYLES)
    ]


def _places(maker: SceneMaker) -> dict[tuple[str, str], int]:
    """The place of the drawing of each concept in each style."""
    return {(row.concept, row.style): n for n, row in enumerate(maker.drawings.rows)}


def _plain(drawing: int) -> Scene:
    return Scene("plain", (Placed(drawing),))


def _pixel_art(drawing: int) -> Scene:
    return Scene("pixel", (Placed(drawing),))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the share of right answers of every trial, of real scenes, of those as soft as mini's
    pictures, and of each seed's."""
    parser = command_line("styles", __doc__, model=True, data=True)
    parser.add_argument("--each", type=int, default=40, help="pictures a trial (40)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds of each prompt (1)")
    parser.add_argument("--sheet", type=Path, help="PNG of styles left out, drawn and real")
    options = parser.parse_args(arguments)
    drawings, extract = Drawings.load(options.data), FeatureExtractor()
    maker = SceneMaker(drawings, SceneMix())
    trials = style_trials(maker, gallery(drawings, 300, extract), extract, options.each)
    ceilings = []
    for trial in trials:
        real = trial.real(maker)
        ceilings.append(trial.rate(real))
        print(f"real, softened  {trial.name:<22} {trial.rate(softened(real)):.3f}", flush=True)
    studio = Studio(options.model)
    artists = [Artist(studio, seed) for seed in range(options.seeds)]
    for artist in artists:
        for trial, ceiling in zip(trials, ceilings, strict=True):
            drawn = artist.draw([case.prompt for case in trial.cases])
            print(f"seed {artist.seed}  {trial.line(ceiling, drawn)}", flush=True)
    if options.sheet:
        left_out(trials, maker, artists[0]).save(options.sheet)


def left_out(trials: Sequence[Trial], maker: SceneMaker, artist: Artist) -> Image.Image:
    """Things in styles that training left out of them, each beside the drawing that it left out."""
    trial = next(trial for trial in trials if trial.name == "look new")
    prompts = [case.prompt for case in trial.cases[:SHOWN]]
    pairs = zip(artist.draw(prompts), trial.real(maker)[: len(prompts)], strict=True)
    labels = [text for prompt in prompts for text in (prompt, "left out")]
    return labelled_sheet([picture for pair in pairs for picture in pair], labels)


if __name__ == "__main__":
    main()
