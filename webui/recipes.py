"""What a picture says of its making, as plain text: it is never executed, and never HTML."""

from __future__ import annotations

from typing import Any

from PIL import Image
from pydantic import BaseModel

from studio.errors import PictureError
from studio.importing.reading import read_any
from studio.picture_files import opened
from studio.webui import uploads

_LONGEST = 100_000  # characters of one text that are shown


class PictureInfo(BaseModel):
    """What was found in a picture.

    Attributes:
        source: the tool that drew it, empty where that is not known.
        text: the recipe as it stands in the file, empty where there is none.
        items: every text that the file holds, by its key.
        request: fields of a request that draws it again, as far as ours can follow it.
        notes: what was lost or is only nearly the same, one sentence each.
    """

    source: str
    text: str
    items: dict[str, str]
    request: dict[str, Any]
    notes: list[str]


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
            raise uploads.refused(error, path, data, field) from None
        try:
            found = read_any(path)
        except PictureError as error:
            what = error.what.replace(str(path), "The picture")
            return PictureInfo(source="", text="", items=items, request={}, notes=[what])
    return PictureInfo(
        source=found.source,
        text=found.text[:_LONGEST],
        items=items,
        request=dict(found.fields),
        notes=list(found.notes),
    )


def _texts(image: Image.Image) -> dict[str, str]:
    image.load()  # PNG allows texts after the pixels
    return {str(k): v[:_LONGEST] for k, v in image.info.items() if isinstance(v, str)}
