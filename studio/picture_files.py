"""Picture files from outside, opened with suspicion.

The content decides what a file is, never its name; size is capped before any pixel is decoded.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from studio.errors import PictureError

MAX_PIXELS = 2**26
"""Largest picture that is opened, in pixels (8192 x 8192)."""
MAX_BYTES = 2**28
"""Largest file that is opened."""

_VALID = f"a PNG, JPEG or WebP file of at most {MAX_PIXELS:,} pixels and {MAX_BYTES:,} bytes"


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """The picture in a file, its pixels not decoded yet.

    Raises:
        PictureError: no such file, not a PNG, JPEG or WebP by its content, too large, or broken.
            Errors of Pillow inside the ``with`` block become one too.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{path} is not a file.", valid=_VALID)
        if status.st_size > MAX_BYTES:
            raise PictureError(f"{path} has {status.st_size:,} bytes.", valid=_VALID)
        with path.open("rb") as file:
            head = file.read(32)
            file.seek(0)
            # Pillow's open() would try more formats than these and warn about size on its own.
            if head.startswith(b"\x89PNG\r\n\x1a\n"):
                image: Image.Image = PngImagePlugin.PngImageFile(file)
            elif head.startswith(b"\xff\xd8\xff"):
                image = JpegImagePlugin.JpegImageFile(file)
            elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
                _check_size(path, *_webp_size(head))
                image = WebPImagePlugin.WebPImageFile(file)
            else:
                raise PictureError(f"{path} is no picture that is opened here.", valid=_VALID)
            _check_size(path, *image.size)
            yield image
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError(f"{path} does not exist.", valid="the path of a picture") from None
    except Exception as error:  # Pillow raises many kinds over broken files
        raise PictureError(f"{path} cannot be read: {error or type(error).__name__}.") from error


def read_pixels(path: str | Path) -> Image.Image:
    """The pixels of a picture file as they are stored, decoded.

    Raises:
        PictureError: see :func:`opened`; a truncated file too.
    """
    with opened(path) as image:
        return image.copy()  # decodes


def read_picture(path: str | Path) -> Image.Image:
    """A picture file as it is meant to be seen: see :func:`upright`.

    Raises:
        PictureError: see :func:`opened`; a truncated file too.
    """
    with opened(path) as image:
        return upright(image)


def upright(image: Image.Image) -> Image.Image:
    """A picture turned as its EXIF says: RGB, or RGBA where it has an alpha channel or the like.

    Palettes, grey, 16 bits a channel and CMYK become 8-bit RGB. Of an animated picture the first
    frame is taken, and ``info["frames"]`` says how many there are; nothing else is left in
    ``info``.
    """
    frames = int(image.info.get("frames", 0)) or getattr(image, "n_frames", 1)
    turned = ImageOps.exif_transpose(image)
    if turned.mode == "I" or turned.mode.startswith("I;16"):  # Pillow would cut off, not scale
        import numpy as np

        levels = np.asarray(turned).astype(np.int64).clip(0, 65535)
        turned = Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))
    picture = turned.convert("RGBA" if turned.has_transparency_data else "RGB")
    picture.info = {"frames": str(frames)} if frames > 1 else {}
    return picture


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError(f"{path} has {width} x {height} pixels.", valid=_VALID)


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height that a WebP file declares: Pillow allocates its canvas on opening."""
    kind, body = head[12:16], head[20:]
    if kind == b"VP8X":
        width, height = body[4:7], body[7:10]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = body[6:8], body[8:10]
    return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
