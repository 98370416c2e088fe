"""What is drawn, where, and what becomes of the rest: the picture side of every repainting."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from studio.errors import RequestError
from studio.pipelines import masks
from studio.pipelines.colouring import coloured
from studio.pipelines.fitting import Box, Size, cut, filled, fitted, matched, opaque
from studio.pipelines.inputs import Sources
from studio.pipelines.request import Request

_NARROWEST = 8  # pixels


@dataclass(frozen=True, eq=False)
class Canvas:
    """An original, the part of it that a model draws anew, and how the two are joined.

    Args:
        original: RGB; its size is the result's.
        box: the part of it that is drawn.
        picture: RGB of the size that is drawn; what the model starts from.
        hole: L of 0 and 255 of that size, white where the model draws; None means everywhere.
        feathered: L of the original's size, how far the drawn pixel replaces the original's.
        keep_luminance: whether only colours are taken from what was drawn.
        match: whether the drawn colours are moved to meet the original's at the hole's rim.
    """

    original: Image.Image
    box: Box
    picture: Image.Image
    hole: Image.Image | None = None
    feathered: Image.Image | None = None
    keep_luminance: bool = False
    match: bool = False

    @classmethod
    def of(cls, request: Request, sources: Sources) -> Canvas:
        """The canvas that a resolved request with an init image asks for.

        The init image is fitted to width x height less what is drawn beyond its edges. With
        ``only_masked`` it keeps its own size, and width x height is that of the part.

        Raises:
            RequestError: the mask is black all over, or more lies beyond the edges than there is.
        """
        assert sources.init_image is not None
        original, mask = opaque(sources.init_image), sources.mask
        size = (request.width or 0, request.height or 0)
        if not request.only_masked:
            original, mask = _laid_out(request, original, mask, size)
        whole = (0, 0, *original.size)
        if mask is None:
            return cls(original, whole, original, keep_luminance=request.keep_luminance)
        mask = masks.binary(mask)
        if mask.getbbox() is None:
            raise RequestError(
                "mask", request.mask, "black all over", valid="a mask with something white in it"
            )
        feathered = masks.feathered(mask, request.mask_feather)
        box: Box = whole
        if request.only_masked:
            box = masks.box_around(feathered, request.only_masked_padding, size)
        picture = cut(original, box).resize(size, Image.Resampling.LANCZOS)
        hole = masks.resized(cut(mask, box), size)
        if request.mask_fill == "blur":
            picture = filled(picture, hole)
        match = any(_sides(request))
        return cls(original, box, picture, hole, feathered, request.keep_luminance, match)

    def finished(self, drawn: Image.Image) -> Image.Image:
        """The result from what was drawn, RGB of the size of ``picture``.

        Every pixel that is black in ``feathered`` is the original's, bit for bit.
        """
        if self.keep_luminance:
            drawn = coloured(self.picture, drawn)
        if self.hole is None or self.feathered is None:
            return drawn
        if self.match:
            drawn = matched(drawn, self.picture, self.hole)
        width, height = self.box[2] - self.box[0], self.box[3] - self.box[1]
        laid = self.original.copy()
        laid.paste(drawn.resize((width, height), Image.Resampling.LANCZOS), self.box[:2])
        return Image.composite(laid, self.original, self.feathered)


def _laid_out(
    request: Request, image: Image.Image, mask: Image.Image | None, size: Size
) -> tuple[Image.Image, Image.Image | None]:
    """The init image fitted and continued to ``size``, and all that is drawn anew in it."""
    sides = _sides(request)
    inner = size[0] - sides[0] - sides[2], size[1] - sides[1] - sides[3]
    if min(inner) < _NARROWEST:
        field = "width" if inner[0] < _NARROWEST else "height"
        beyond = size[field == "height"] - inner[field == "height"]
        raise RequestError(
            field,
            getattr(request, field),
            f"leaves no room for the init image: {beyond} px of it lie beyond its edges",
            valid=f"{beyond + _NARROWEST} or more",
        )
    image = fitted(image, inner, request.fit)
    mask = mask and fitted(mask, inner, request.fit)
    if not any(sides):
        return image, mask
    box = (-sides[0], -sides[1], inner[0] + sides[2], inner[1] + sides[3])
    fresh = Image.new("L", size, 255)
    fresh.paste(mask or Image.new("L", inner, 0), sides[:2])
    return cut(image, box), fresh


def _sides(request: Request) -> Box:
    """Pixels beyond the left, top, right and bottom edge."""
    return request.extend_left, request.extend_top, request.extend_right, request.extend_bottom
