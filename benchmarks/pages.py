"""The pictures of the pages in docs/ that show what a feature does, drawn by mini.

Seeds are fixed, so that a change of the weights is all that changes them:

    python -m benchmarks.pages --out docs/pictures
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from benchmarks.command_line import command_line
from studio import Studio

Pictures = list[Image.Image]
GAP = 8


def drawn(prompt: str, **fields: Any) -> Image.Image:
    """The picture of one request."""
    return next(_studio().generate(prompt, **fields)).image


@cache
def _studio() -> Studio:
    return Studio()


def row(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one height side by side."""
    width = sum(picture.width + GAP for picture in pictures) - GAP
    sheet = Image.new("RGB", (width, pictures[0].height), "white")
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + GAP
    return sheet


def image_to_image() -> Pictures:
    """An apple, and green apples over it with strength 0, 0.3, 0.6 and 0.9."""
    apple = drawn("a red apple", seed=3)
    strengths = (0.0, 0.3, 0.6, 0.9)
    return [
        apple,
        *(drawn("a green apple", init_image=apple, strength=s, seed=3) for s in strengths),
    ]


def inpainting() -> Pictures:
    """A face, a mask over its eyes, and three pictures with them drawn anew."""
    face = drawn("cartoon face, brown short hair", seed=4)
    mask = Image.new("L", face.size)
    ImageDraw.Draw(mask).rectangle((16, 44, 112, 84), fill=255)
    anew = (
        drawn(f"cartoon face, brown short hair, {what}", init_image=face, mask=mask, strength=1.0,
              seed=4)
        for what in ("glasses", "sunglasses", "clown nose")
    )  # fmt: skip
    return [face, mask.convert("RGB"), *anew]


def outpainting() -> Pictures:
    """Things on a background, extended to both sides."""
    grown = []
    for prompt in (
        "a balloon on a light blue background",
        "a cactus on an orange background",
        "a rocket on a purple background",
    ):
        picture = drawn(prompt, seed=1)
        grown.append(
            drawn(prompt, init_image=picture, extend_left=32, extend_right=32, strength=0.3, seed=1)
        )
    return grown


def colouring() -> Pictures:
    """A grey car, coloured in four hues."""
    grey = ImageOps.grayscale(drawn("an automobile", seed=2)).convert("RGB")
    hues = ("red", "green", "blue", "orange")
    return [
        grey,
        *(
            drawn(f"a {hue} automobile", init_image=grey, keep_luminance=True, strength=0.8, seed=2)
            for hue in hues
        ),
    ]


def hires() -> Pictures:
    """128 pixels enlarged, 256 at once, and 256 by hires fix with latent and with lanczos."""
    prompt = "a red apple"
    small = drawn(prompt, seed=1)
    fixed = (
        drawn(prompt, seed=1, hires_scale=2, hires_strength=0.3, hires_upscaler=upscaler)
        for upscaler in ("latent", "lanczos")
    )
    at_once = drawn(prompt, seed=1, width=256, height=256)
    return [small.resize((256, 256), Image.Resampling.NEAREST), at_once, *fixed]


def seamless() -> Pictures:
    """The same prompt and seed without and with seamless, each repeated two by two."""
    repeated = []
    for joined in (False, True):
        picture = drawn("green leaves", seed=7, seamless=joined)
        repeated.append(Image.fromarray(np.tile(np.asarray(picture), (2, 2, 1))))
    return repeated


PAGES: dict[str, Callable[[], Pictures]] = {
    "image-to-image": image_to_image, "inpainting": inpainting, "outpainting": outpainting,
    "colouring": colouring, "hires": hires, "seamless": seamless,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the rows of all pages, or of some."""
    options = _options(arguments)
    for name in options.only or PAGES:
        row(PAGES[name]()).save(options.out / f"{name}.png")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line("pages", __doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--only", action="append", choices=PAGES, help="one of them; repeatable")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
