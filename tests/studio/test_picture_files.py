from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from studio import picture_files
from studio.errors import PictureError
from studio.picture_files import opened, read_pixels
from tests.studio.recipes import make_image


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    make_image().save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_content_decides_not_the_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(encoded(kind))
    with opened(path) as image:
        assert (image.format, image.size) == (kind, (64, 72))
    assert read_pixels(path).size == (64, 72)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!DOCTYPE html><html></html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"%PDF-1.7\n",
        encoded("GIF"),
        encoded("BMP"),
        encoded("TIFF"),
        b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
        b"\xff\xd8\xff" + b"\0" * 40,
        b"RIFF\x20\0\0\0WEBPVP8 " + b"\0" * 40,
        b"RIFF\x20\0\0\0WEBP",
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=r"a\.png"):
        read_pixels(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    content = encoded(kind)
    path = tmp_path / "a.png"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(PictureError, match=r"a\.png"):
        read_pixels(path)


def _png_bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    )


def _webp_bomb() -> bytes:
    body = b"VP8X" + struct.pack("<I", 10) + b"\0" * 4 + b"\xff\x3f\0" + b"\xff\x3f\0"
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _jpeg_bomb() -> bytes:
    small = encoded("JPEG")
    return small.replace(struct.pack(">HH", 72, 64), struct.pack(">HH", 65_000, 65_000), 1)


@pytest.mark.parametrize(
    "content",
    [_png_bomb(2**31 - 1, 2**31 - 1), _png_bomb(8193, 8192), _webp_bomb(), _jpeg_bomb()],
    ids=["png", "png just over", "webp", "jpeg"],
)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(PictureError, match=r"pixels.*at most 67,108,864 pixels"):
        read_pixels(path)


@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"lossless": False}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}]
)
def test_every_form_of_webp_is_measured(
    tmp_path: Path, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(encoded("WEBP", **options))
    monkeypatch.setattr(picture_files, "MAX_PIXELS", 64 * 72)
    assert read_pixels(path).size == (64, 72)
    monkeypatch.setattr(picture_files, "MAX_PIXELS", 64 * 72 - 1)
    with pytest.raises(PictureError, match="64 x 72 pixels"):
        read_pixels(path)


def test_a_file_too_large_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG"))
    monkeypatch.setattr(picture_files, "MAX_BYTES", 100)
    with pytest.raises(PictureError, match="bytes"):
        read_pixels(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name, reason in [("pipe.png", "not a file"), (".", "not a file"), ("b.png", "not exist")]:
        with pytest.raises(PictureError, match=reason):
            read_pixels(tmp_path / name)
    with pytest.raises(PictureError):
        read_pixels("a\0.png")
