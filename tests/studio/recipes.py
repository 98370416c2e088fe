"""Recipes and pictures for the tests of the picture files."""

from __future__ import annotations

from typing import Any

from PIL import Image

from studio.metadata import Recipe, Versions, pixel_sha256
from studio.picture import Picture
from studio.pipelines.request import Defaults, Request
from studio.pipelines.timings import Timings

DEFAULTS = Defaults(
    sampler="Euler a", schedule="Karras", steps=20, guidance_scale=7.0, width=64, height=72
)


def make_image(width: int = 64, height: int = 72) -> Image.Image:
    """RGB noise, the same every time."""
    count = 3 * width * height
    return Image.frombytes("RGB", (width, height), bytes(i * i % 251 for i in range(count)))


def make_recipe(**fields: Any) -> Recipe:
    """The recipe of :func:`make_image`; ``fields`` are the request's."""
    request = Request.of(**{"prompt": "a cat", "seed": 7, **fields}).resolve(DEFAULTS)
    return Recipe(
        request=request,
        model=request.model,
        weights_sha256="0123456789abcdef" * 4,
        versions=Versions.current(),
        device="cpu",
        precision="fp32",
        attention="sdpa",
        pixel_sha256=pixel_sha256(make_image()),
        timings=Timings(encode_s=0.1, denoise_s=1.5, decode_s=0.25),
        recovery=("sliced decode",),
    )


def make_picture(**fields: Any) -> Picture:
    """A picture with noise in it; ``fields`` are the request's."""
    recipe = make_recipe(**fields)
    return Picture(make_image(), recipe.request, recipe)
