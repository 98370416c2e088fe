"""Cartoon faces with known attributes, put together from the SVG parts of a DiceBear package.

A face's hair, hair colour and accessory have words (:data:`HAIR`, :data:`HAIR_COLOURS`,
:data:`ACCESSORIES`); its skin, eyes and mouth vary without any. The package's code is read as text,
never run.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from studio.errors import StudioError
from studio.training.rendering import draw_svg
from studio.training.sources import Source

HAIR: dict[str, tuple[str, str]] = {
    "shortHair": ("short hair", "短发"),
    "mohawk": ("mohawk", "莫霍克头"),
    "wavyBob": ("wavy hair", "波浪发"),
    "bowlCutHair": ("bowl cut", "锅盖头"),
    "curlyBob": ("curly bob", "卷发波波头"),
    "straightHair": ("straight hair", "直发"),
    "braids": ("braided hair", "辫子"),
    "shavedHead": ("shaved head", "寸头"),
    "bunHair": ("hair in a bun", "发髻"),
    "bangs": ("hair with bangs", "刘海"),
    "curlyShortHair": ("curly hair", "卷发"),
}
"""Parts of hair, and what they are called in English and Chinese."""
HAIR_COLOURS: dict[str, tuple[str, str]] = {
    "black": ("黑色", "#220f00"),
    "brown": ("棕色", "#7a4a2a"),
    "blond": ("金色", "#e9b729"),
    "orange": ("橙色", "#e0700c"),
    "red": ("红色", "#d8343a"),
    "pink": ("粉色", "#f58ac0"),
    "purple": ("紫色", "#8e44c8"),
    "blue": ("蓝色", "#3f6fe0"),
    "green": ("绿色", "#2f9d54"),
    "gray": ("灰色", "#9a9a9a"),
}
ACCESSORIES: dict[str, tuple[str, str]] = {
    "glasses": ("glasses", "眼镜"),
    "sunglasses": ("sunglasses", "墨镜"),
    "catEars": ("cat ears", "猫耳朵"),
    "clownNose": ("clown nose", "小丑鼻子"),
    "faceMask": ("face mask", "口罩"),
    "mustache": ("mustache", "小胡子"),
}
SKINS = ("#ffe4c0", "#efcc9f", "#c99c62", "#8c5a2b")

# The package's own frame cuts off buns.
_FRAME = "-30 -50 540 540"
_KINDS = ("face", "mouth", "eyes", "hair", "accessories")
_PART = re.compile(r"^    (\w+): \(components, colors\) => `(.*)`,$", re.MULTILINE)
_PLACE = re.compile(
    r'<g transform="([^"]+)">\$\{\(_\w+ = \(_\w+ = components\.(\w+)\)', re.MULTILINE
)
_COLOUR = re.compile(r"\$\{escape\.xml\(`\$\{colors\.(\w+)\}`\)\}")


@dataclass(frozen=True)
class Face:
    """Names of parts; ``hair_colour`` is one of :data:`HAIR_COLOURS`, ``skin`` a hex colour."""

    hair: str
    hair_colour: str
    accessory: str | None
    skin: str
    eyes: str
    mouth: str


@dataclass(frozen=True)
class FaceParts:
    """SVG ``parts`` by kind and name; ``places``: kind and transform, back to front."""

    parts: dict[str, dict[str, str]]
    places: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, source: Source) -> FaceParts:
        """The parts in a DiceBear package (the ES modules in ``lib``).

        Raises:
            StudioError: a part that has a word is not there.
        """
        text = {kind: _text(source, f"lib/components/{kind}.js") for kind in _KINDS}
        parts = {kind: dict(_PART.findall(text[kind])) for kind in _KINDS}
        index = _text(source, "lib/index.js")
        places = tuple((kind, where) for where, kind in _PLACE.findall(index))
        lacking = sorted(HAIR.keys() - parts["hair"].keys()) + sorted(
            ACCESSORIES.keys() - parts["accessories"].keys()
        )
        if lacking or {kind for kind, _ in places} != set(_KINDS):
            raise StudioError(
                f"{source.package.spec} lacks {', '.join(lacking) or 'places for its parts'}."
            )
        return cls(parts, places)

    @classmethod
    def from_json(cls, text: str | bytes) -> FaceParts:
        """What :meth:`to_json` wrote."""
        values = json.loads(text)
        return cls(values["parts"], tuple((kind, where) for kind, where in values["places"]))

    def to_json(self) -> str:
        return json.dumps({"parts": self.parts, "places": self.places}, sort_keys=True)

    def draw(self, rng: np.random.Generator) -> Face:
        """A face at random; every second one wears something."""

        def one(names: object) -> str:
            choices = list(names)  # type: ignore[call-overload]
            return str(choices[int(rng.integers(len(choices)))])

        return Face(
            hair=one(HAIR),
            hair_colour=one(HAIR_COLOURS),
            accessory=one(ACCESSORIES) if rng.random() < 0.5 else None,
            skin=one(SKINS),
            eyes=one(self.parts["eyes"]),
            mouth=one(self.parts["mouth"]),
        )

    def svg(self, face: Face) -> str:
        """The face as SVG text with a ``{size}`` slot."""
        chosen = {
            "face": "base", "mouth": face.mouth, "eyes": face.eyes, "hair": face.hair,
            "accessories": face.accessory,
        }  # fmt: skip
        colours = {"hair": HAIR_COLOURS[face.hair_colour][1], "skin": face.skin}
        body = "".join(
            f'<g transform="{where}">{self.parts[kind][name]}</g>'
            for kind, where in self.places
            if (name := chosen[kind])
        )
        body = _COLOUR.sub(lambda match: colours[match[1]], body)
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{_FRAME}" fill="none"'
        return f"{head}{{size}}>{body}</svg>"

    def picture(self, face: Face, side: int) -> Image.Image:
        """The face in RGBA, ``side`` pixels wide and high, nothing behind it."""
        with Image.open(io.BytesIO(draw_svg(self.svg(face), side))) as image:
            return image.convert("RGBA")


def _text(source: Source, path: str) -> str:
    if path not in source.files:
        raise StudioError(f"The package {source.package.spec} holds no {path}.")
    return source.files[path].decode()
