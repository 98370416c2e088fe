"""What a picture says of its making, as plain text: it is never executed, and never HTML."""

from __future__ import annotations

from typing import Any

from PIL import ExifTags, Image
from pydantic import BaseModel

from studio.errors import PictureError, RequestError, StudioError
from studio.metadata import read_recipe
from studio.parameters import parse_parameters
from studio.picture_files import opened
from studio.webui import uploads

_LONGEST = 100_000  # characters of one entry that are shown
_UNICODE = b"UNICODE\0"


class PictureInfo(BaseModel):
    """What was found in a picture.

    Attributes:
        text: the recipe as AUTOMATIC1111 writes it, empty where there is none.
        items: every text that the file holds, by its key.
        request: fields of a request that draws it again, as far as they were understood.
        problem: why there is no request.
    """

    text: str
    items: dict[str, str]
    request: dict[str, Any] | None
    problem: str


def picture_info(data: bytes, field: str) -> PictureInfo:
    """Reads the texts of a picture file.

    Raises:
        RequestError: names ``field``; no picture that can be opened.
    """
    with uploads.as_file(data) as path:
        try:
            with opened(path) as image:
                items = _texts(image)
        except PictureError as error:
            what = error.what.replace(str(path), "the picture").rstrip(".")
            raise RequestError(field, f"{len(data):,} bytes", what, valid=error.valid) from None
        try:
            recipe = read_recipe(path)
        except StudioError:
            text = items.get("parameters", "")
        else:
            request = recipe.request.model_dump()
            return PictureInfo(text=recipe.parameters(), items=items, request=request, problem="")
    if not text:
        return PictureInfo(text="", items=items, request=None, problem="It holds no recipe.")
    try:
        request = parse_parameters(text).model_dump(exclude_unset=True)
    except RequestError as error:
        return PictureInfo(text=text, items=items, request=None, problem=str(error))
    return PictureInfo(text=text, items=items, request=request, problem="")


def _texts(image: Image.Image) -> dict[str, str]:
    found = {str(k): v[:_LONGEST] for k, v in image.info.items() if isinstance(v, str)}
    exif = image.getexif()
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if isinstance(comment, bytes) and comment.startswith(_UNICODE):
        text = comment.removeprefix(_UNICODE).decode("utf-16-be", errors="replace")
        found.setdefault("parameters", text[:_LONGEST])
    description = exif.get(ExifTags.Base.ImageDescription)
    if isinstance(description, str):
        found.setdefault("ImageDescription", description[:_LONGEST])
    return found
