"""The pictures that a request starts from. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from studio.pipelines.request import Defaults

_SMALLEST, _LARGEST, _MULTIPLE = 64, 4096, 8


@dataclass(frozen=True, eq=False)
class Sources:
    """What the names of pictures in a request stand for.

    Args:
        init_image: upright RGB or RGBA.
        mask: "L" of the init image's size, white where it is drawn anew.
        notices: what the user should know of how they were read.
        control_image: upright RGB or RGBA, what a ControlNet follows.
        ip_adapter_image: upright RGB or RGBA, what an IP-Adapter sees.
    """

    init_image: Image.Image | None = None
    mask: Image.Image | None = None
    notices: tuple[str, ...] = ()
    control_image: Image.Image | None = None
    ip_adapter_image: Image.Image | None = None


def natural_size(picture: tuple[int, int], defaults: Defaults) -> tuple[int, int]:
    """(width, height) with a picture's proportions and the area that the model draws best.

    Both are multiples of 8 from 64 to 4096.
    """
    area = defaults.width * defaults.height
    shrink = (area / (picture[0] * picture[1])) ** 0.5
    width, height = (
        min(max(round(edge * shrink / _MULTIPLE) * _MULTIPLE, _SMALLEST), _LARGEST)
        for edge in picture
    )
    return width, height


def extended_size(picture: tuple[int, int], beyond: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a picture and what is drawn ``beyond`` its edges (both sides together).

    The picture keeps its scale; what is over a multiple of 8 is cut off.
    """
    width, height = (
        min(max(edge // _MULTIPLE * _MULTIPLE + more, _SMALLEST), _LARGEST)
        for edge, more in zip(picture, beyond, strict=True)
    )
    return width, height
