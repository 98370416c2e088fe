"""Pictures that come in over HTTP: limited, judged by content, kept re-encoded."""

from __future__ import annotations

import base64
import binascii
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from studio.errors import PictureError, RequestError
from studio.inputs import Inputs
from studio.picture_files import read_picture

_DATA_URL = "data:"


def decoded(text: str, field: str) -> bytes:
    """The bytes of a picture in base64, with or without ``data:image/png;base64,`` before it.

    Raises:
        RequestError: not base64; names ``field``. An address is not fetched.
    """
    if text.startswith(_DATA_URL):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(
            field, text[:40], "not base64", valid="a PNG, JPEG or WebP file in base64"
        ) from None


@contextmanager
def as_file(data: bytes) -> Iterator[Path]:
    """A file with ``data`` in it, gone after the block."""
    with tempfile.TemporaryDirectory(prefix="studio-upload-") as folder:
        path = Path(folder) / "picture"  # never the name that the client gave
        path.write_bytes(data)
        yield path


def picture(data: bytes, field: str) -> Image.Image:
    """The upright RGB or RGBA picture of an upload.

    Raises:
        RequestError: names ``field``; no PNG, JPEG or WebP by its content, too large, broken.
    """
    with as_file(data) as path:
        try:
            return read_picture(path)
        except PictureError as error:
            raise refused(error, path, data, field) from None


def refused(error: PictureError, path: Path, data: bytes, field: str) -> RequestError:
    """What is said of an upload that was found wanting; without the path that it lay in."""
    what = error.what.replace(str(path), "the picture").rstrip(".")
    return RequestError(field, f"{len(data):,} bytes", what, valid=error.valid)


def kept(inputs: Inputs, data: bytes, field: str) -> str:
    """Takes an upload in, re-encoded as PNG without what else the file held; its reference."""
    return inputs.add(picture(data, field))


def in_base64(data: bytes) -> str:
    """``data`` as JSON can hold it."""
    return base64.b64encode(data).decode()


def png(image: Image.Image) -> bytes:
    """``image`` as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
