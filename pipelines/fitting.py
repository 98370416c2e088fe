"""Pictures brought to a size, and continued beyond their edges."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from studio.pipelines import stages

Size = tuple[int, int]
Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels, the last two just outside; may lie beyond a picture."""

_SLACK = 8  # pixels, the grid that sizes lie on
_RELAXATIONS = 8
_ON_WHITE = (255, 255, 255, 255)


def opaque(image: Image.Image) -> Image.Image:
    """RGB of an RGB or RGBA picture; what is transparent shows white."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, _ON_WHITE), image).convert("RGB")


def fitted(image: Image.Image, size: Size, fit: str) -> Image.Image:
    """A picture of (width, height), resampled by Lanczos; itself where it has that size.

    Args:
        image: RGB, or L for a mask.
        size: (width, height).
        fit: "crop" fills the size and cuts off what is over, both sides alike, without resampling
            where that is less than 8 pixels; "pad" shows all of the picture and continues it into
            the bars (a mask is black there); "stretch" bends the proportions.
    """
    if image.size == size or fit == "stretch":
        return image.resize(size, Image.Resampling.LANCZOS)
    ratios = [wanted / have for wanted, have in zip(size, image.size, strict=True)]
    scale = max(ratios) if fit == "crop" else min(ratios)
    if all(0 <= have - wanted < _SLACK for have, wanted in zip(image.size, size, strict=True)):
        scale = 1.0 if fit == "crop" else scale
    width, height = (max(1, round(edge * scale)) for edge in image.size)
    resized = image.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    return cut(resized, (left, top, left + size[0], top + size[1]))


def cut(image: Image.Image, box: Box) -> Image.Image:
    """The part of a picture within ``box``; beyond its edges RGB is continued and L is black."""
    part = image.crop(box)
    whole = (0, 0, *image.size)
    inside = all(a >= b for a, b in zip(box[:2], whole[:2], strict=True)) and all(
        a <= b for a, b in zip(box[2:], whole[2:], strict=True)
    )
    if inside or image.mode == "L":
        return part
    beyond = Image.new("L", image.size, 0).point(lambda _: 255).crop(box)
    return filled(part, beyond.point(lambda known: 255 - known))


def filled(image: Image.Image, hole: Image.Image) -> Image.Image:
    """RGB with its ``hole`` filled smoothly from around: sharp at the rim, blurred far inside.

    Pull-push over a pyramid (Gortler et al. 1996, "The Lumigraph", section 3.4), relaxed towards
    a membrane at each level; all pixels outside the hole stay as they are.

    Args:
        image: RGB.
        hole: L of its size, white where it is filled.
    """
    known = (stages.to_tensor(hole) < 0.5).float()
    if not known.any():
        return image
    spread = _spread(stages.to_tensor(image), known)
    return Image.composite(stages.to_pil(spread[0]), image, hole.point(lambda v: 255 * (v > 127)))


def matched(drawn: Image.Image, original: Image.Image, hole: Image.Image) -> Image.Image:
    """``drawn`` with its colours in the ``hole`` moved so that they meet the original at the rim.

    What the two differ by outside the hole is spread smoothly into it and added there: a membrane,
    as in gradient-domain cloning (Farbman et al. 2009, "Coordinates for instant image cloning").

    Args:
        drawn: RGB.
        original: RGB of the same size; counts outside the hole only.
        hole: L of that size, white inside.
    """
    known = (stages.to_tensor(hole) < 0.5).float()
    if not known.any():
        return drawn
    colours = stages.to_tensor(drawn)
    membrane = _spread(stages.to_tensor(original) - colours, known)
    return stages.to_pil((colours + membrane)[0])


def _spread(colour: Tensor, known: Tensor) -> Tensor:
    if known.all() or max(known.shape[-2:]) == 1:
        return colour
    weight = functional.avg_pool2d(known, 2, ceil_mode=True)
    coarse = functional.avg_pool2d(colour * known, 2, ceil_mode=True) / weight.clamp_min(1e-6)
    coarse = _spread(coarse, (weight > 0).float())
    finer = functional.interpolate(coarse, known.shape[-2:], mode="bilinear", align_corners=False)
    finer = torch.where(known > 0, colour, finer)
    for _ in range(_RELAXATIONS):  # else the rim would show, where it lies on the pyramid's grid
        wider = functional.pad(finer, (1, 1, 1, 1), mode="replicate")
        finer = torch.where(known > 0, colour, functional.avg_pool2d(wider, 3, 1))
    return finer
