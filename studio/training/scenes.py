"""Scenes: what a training picture shows, composed from drawings, and how it is captioned.

Single drawings teach names and styles; composed ones (named backgrounds, sizes, sides, counts,
pairs, hues) ground the words that no single drawing can teach.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from studio.colours import COLOURS
from studio.training.dataset import Drawings
from studio.training.faces import HAIR, HAIR_COLOURS, Face
from studio.training.recipe import Frozen
from studio.training.recolouring import pixel_art, recolour, shade

Rng = np.random.Generator
Kind = Literal["plain", "background", "hue", "size", "count", "pair", "face", "pixel"]
Side = Literal["left", "right", "above", "below"]

_CHINESE = {
    "white": "白色", "black": "黑色", "gray": "灰色", "red": "红色", "orange": "橙色",
    "yellow": "黄色", "green": "绿色", "blue": "蓝色", "light blue": "浅蓝色", "purple": "紫色",
    "pink": "粉色", "brown": "棕色",
}  # fmt: skip
COLOUR_WORD = re.compile(
    r"\b(red|orange|yellow|green|blue|purple|pink|brown|black|white|gray|grey)\b ?"
)
BACKGROUNDS = {name: (_CHINESE[name], rgb) for name, rgb in COLOURS.items()}
HUES: dict[str, tuple[str, int]] = {
    "red": ("红色", 0),
    "orange": ("橙色", 30),
    "yellow": ("黄色", 52),
    "green": ("绿色", 120),
    "blue": ("蓝色", 215),
    "purple": ("紫色", 275),
    "pink": ("粉色", 330),
}
COUNTS = {2: ("two", "两个"), 3: ("three", "三个"), 4: ("four", "四个"), 5: ("five", "五个")}


class SceneMix(Frozen):
    """Shares of the kinds of scenes (normalised), and how drawings are weighted."""

    plain: float = 0.5
    background: float = 0.2
    hue: float = 0.08
    size: float = 0.07
    count: float = 0.07
    pair: float = 0.08
    face: float = 0.0  # cartoon faces with named attributes, where the file has their parts
    pixel: float = 0.0  # pixel art made of a drawing
    mirrored: float = 0.0  # share of drawings shown mirrored, so that none is all that is learned
    smallest: float = 1.0  # a drawing alone is shown at any size from this one to 1
    everyday: float = 3.0  # weight of a drawing of an everyday thing against any other
    known: float = 0.0  # exponent: how much more (or less) a thing of many drawings weighs
    styles: dict[str, float] = Field(default_factory=dict)  # weight of a style, 1 where not named


@dataclass(frozen=True)
class Placed:
    """One drawing in a scene: centre and size as shares of the picture's side."""

    drawing: int
    x: float = 0.5
    y: float = 0.5
    size: float = 1.0
    mirrored: bool = False


@dataclass(frozen=True)
class Scene:
    """What a picture shows: placed drawings or a face. ``background`` and ``hue`` are names."""

    kind: Kind
    placed: tuple[Placed, ...]
    background: str = "white"
    hue: str | None = None
    side: Side | None = None
    face: Face | None = None


def heldout_pair(*words: str) -> bool:
    """Whether this combination (colour and thing, ordered pair) is kept from training (10%)."""
    return hashlib.sha256("\0".join(words).encode()).digest()[0] < 26


class SceneMaker:
    """Draws scenes, their pictures and captions from ``drawings``, without the held-out cells."""

    def __init__(self, drawings: Drawings, mix: SceneMix) -> None:
        self.drawings, self.mix = drawings, mix
        rows = drawings.rows
        sets = Counter(row.concept for row in rows)
        most = max(sets.values())
        weights = np.array(
            [
                0.0
                if row.heldout
                else mix.styles.get(row.style, 1.0)
                * (mix.everyday if row.everyday else 1.0)
                * (sets[row.concept] / most) ** mix.known
                for row in rows
            ]
        )
        everyday = weights * np.array([row.everyday for row in rows])
        hued = everyday * np.array([row.hue is not None for row in rows])
        self.weights = everyday
        # Cumulative: a draw is one binary search, not a walk over all weights.
        self.any, self.everyday, self.hued = (w.cumsum() for w in (weights, everyday, hued))
        kinds = {kind: getattr(mix, kind) for kind in Kind.__args__}  # type: ignore[attr-defined]
        if not hued.any():
            kinds["hue"] = 0.0
        if drawings.faces is None:
            kinds["face"] = 0.0
        self.kinds = list(kinds)
        self.shares = np.array(list(kinds.values())) / sum(kinds.values())
        self.by_style: dict[str, npt.NDArray[np.int64]] = {
            style: np.array([i for i, row in enumerate(rows) if row.style == style])
            for style in {row.style for row in rows}
        }

    def draw(self, rng: Rng) -> Scene:
        """One scene at random."""
        scene = self._composed(rng)
        if not self.mix.mirrored:
            return scene
        placed = tuple(
            replace(one, mirrored=rng.random() < self.mix.mirrored and not self._sided(one))
            for one in scene.placed
        )
        return replace(scene, placed=placed)

    def _sided(self, placed: Placed) -> bool:
        """Whether a drawing's label says which way it points."""
        return bool({"left", "right"} & set(re.split(r"\W+", self.label(placed.drawing))))

    def _composed(self, rng: Rng) -> Scene:
        kind: Kind = self.kinds[int(rng.choice(len(self.kinds), p=self.shares))]
        if kind == "plain":
            size = float(rng.uniform(self.mix.smallest, 1)) if self.mix.smallest < 1 else 1.0
            return Scene(kind, (Placed(_pick(rng, self.any), size=size),))
        if kind == "face":
            return self._face(rng)
        main = _pick(rng, self.everyday)
        if kind == "background":
            colour = list(BACKGROUNDS)[int(rng.integers(1, len(BACKGROUNDS)))]
            if heldout_pair(self.label(main), colour):
                colour = "white"
            return Scene(kind, (Placed(main, size=float(rng.uniform(0.75, 0.95))),), colour)
        if kind == "hue":
            main = _pick(rng, self.hued)
            hue = _name(rng, HUES)
            if heldout_pair(hue, self.label(main)):
                return Scene("plain", (Placed(main),))
            return Scene(kind, (Placed(main),), hue=hue)
        if kind == "pixel":
            return Scene(kind, (Placed(main),))
        if kind == "size":
            large = bool(rng.random() < 0.5)
            size = float(rng.uniform(0.92, 1.0) if large else rng.uniform(0.3, 0.42))
            slack = (1 - size) / 2 * 0.6
            x, y = 0.5 + rng.uniform(-slack, slack, size=2)
            return Scene(kind, (Placed(main, float(x), float(y), size),))
        background = "white" if rng.random() < 0.7 else _name(rng, BACKGROUNDS)
        if kind == "count":
            return Scene(kind, _grid(rng, main, int(rng.integers(2, 6))), background)
        other = self._companion(rng, main)
        side: Side = ("left", "right", "above", "below")[int(rng.integers(4))]
        if heldout_pair(self.label(main), self.label(other)):
            return Scene("plain", (Placed(main),))
        return Scene(kind, _beside(rng, main, other, side), background, side=side)

    def _companion(self, rng: Rng, main: int) -> int:
        """Another everyday thing in the same style."""
        same = self.by_style[self.drawings.rows[main].style]
        weights = (self.weights[same] * (same != main)).cumsum()
        return int(same[_pick(rng, weights)]) if weights[-1] > 0 else _pick(rng, self.everyday)

    def _face(self, rng: Rng) -> Scene:
        """A face on a named background, its hair in no colour that is held out for it."""
        assert self.drawings.faces is not None
        face = self.drawings.faces.draw(rng)
        while heldout_pair(face.hair_colour, HAIR[face.hair][0]):
            face = replace(face, hair_colour=_name(rng, HAIR_COLOURS))
        return Scene("face", (), _name(rng, BACKGROUNDS), face=face)

    def label(self, drawing: int) -> str:
        return self.drawings.rows[drawing].label["en"]

    def picture(self, scene: Scene, rng: Rng) -> npt.NDArray[np.uint8]:
        """The scene drawn: uint8 [S, S, 3], S the side of the drawings."""
        side = self.drawings.pixels.shape[1]
        canvas = Image.new(
            "RGB", (side, side), shade(BACKGROUNDS[scene.background][1], scene.background, rng)
        )
        if scene.face:
            assert self.drawings.faces is not None
            drawn = self.drawings.faces.picture(scene.face, side)
            canvas.paste(drawn, (0, 0), drawn)
        for placed in scene.placed:
            picture = Image.fromarray(self.drawings.pixels[placed.drawing])
            if placed.mirrored:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            if scene.hue:
                picture = recolour(picture, self.drawings.rows[placed.drawing], HUES[scene.hue][1])
            extent = max(8, round(side * placed.size))
            if extent != side:
                picture = (
                    picture.convert("RGBa")
                    .resize((extent, extent), Image.Resampling.LANCZOS)
                    .convert("RGBA")
                )
            corner = (round(placed.x * side - extent / 2), round(placed.y * side - extent / 2))
            canvas.paste(picture, corner, picture)
        return np.asarray(pixel_art(canvas) if scene.kind == "pixel" else canvas)


def _pick(rng: Rng, cumulative: npt.NDArray[np.float64]) -> int:
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def _name(rng: Rng, named: Mapping[str, object]) -> str:
    return list(named)[int(rng.integers(len(named)))]


def _grid(rng: Rng, drawing: int, count: int) -> tuple[Placed, ...]:
    """``count`` copies that do not touch."""
    spots = {
        2: [(0.27, 0.5), (0.73, 0.5)],
        3: [(0.27, 0.28), (0.73, 0.28), (0.5, 0.73)],
        4: [(0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)],
        5: [(0.22, 0.22), (0.78, 0.22), (0.5, 0.5), (0.22, 0.78), (0.78, 0.78)],
    }[count]
    size = {2: 0.45, 3: 0.42, 4: 0.42, 5: 0.34}[count]
    shift = rng.uniform(-0.015, 0.015, size=(count, 2))
    return tuple(
        Placed(drawing, x + float(dx), y + float(dy), size)
        for (x, y), (dx, dy) in zip(spots, shift, strict=True)
    )


def _beside(rng: Rng, main: int, other: int, side: Side) -> tuple[Placed, ...]:
    near, far = 0.26, 0.74
    size = float(rng.uniform(0.42, 0.48))
    first = {"left": (near, 0.5), "right": (far, 0.5), "above": (0.5, near), "below": (0.5, far)}[
        side
    ]
    second = (1 - first[0], 1 - first[1])
    return (Placed(main, *first, size), Placed(other, *second, size))


def mirrored(scene: Scene) -> Scene:
    """The same scene told from the other thing (``a cat left of a tree`` / ``a tree right of``)."""
    opposite: dict[Side, Side] = {
        "left": "right",
        "right": "left",
        "above": "below",
        "below": "above",
    }
    if scene.side is None:
        return scene
    return replace(scene, placed=scene.placed[::-1], side=opposite[scene.side])
