"""One drawing from SVG text or a picture file to a centred square with transparent background."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from studio.errors import UnavailableError

_OVERSAMPLING = 2
_OPAQUE = 128  # alpha from which a pixel counts as part of the subject


@dataclass(frozen=True)
class Task:
    """What :func:`render` needs: SVG text with a ``{size}`` slot, or file bytes."""

    source: str | bytes
    size: int
    fill: float
    quality: int | None = None


@dataclass(frozen=True)
class Rendered:
    """A WebP picture (RGBA, exact alpha) and its one hue in degrees, if it has one."""

    webp: bytes
    hue: int | None


def render(task: Task) -> Rendered | None:
    """Draw one picture, or None where the source is broken or draws nothing.

    Raises:
        UnavailableError: the SVG renderer is not installed.
    """
    target = round(task.size * task.fill)
    subject = _subject(task.source, task.size * _OVERSAMPLING)
    if subject is not None and max(subject.shape[:2]) < target and isinstance(task.source, str):
        # A small subject in a large frame is drawn again, larger.
        subject = _subject(task.source, task.size * _OVERSAMPLING * 4)
    if subject is None:
        return None
    pixels = _straight(_centred(subject, task.size, target))
    out = io.BytesIO()
    image = Image.fromarray(pixels)
    if task.quality is None:
        image.save(out, "WEBP", lossless=True, quality=50, method=3, exact=True)
    else:
        image.save(out, "WEBP", quality=task.quality, alpha_quality=100, use_sharp_yuv=True)
    return Rendered(out.getvalue(), dominant_hue(pixels))


def silhouette(source: str | bytes, side: int, fill: float) -> npt.NDArray[np.uint8] | None:
    """How much an icon covers, its colours aside: uint8 [side, side]; None where it is broken.

    Raises:
        UnavailableError: the SVG renderer is not installed.
    """
    subject = _subject(source, side * _OVERSAMPLING)
    if subject is None:
        return None
    return _straight(_centred(subject, side, round(side * fill)))[..., 3]


def _subject(source: str | bytes, side: int) -> npt.NDArray[np.float32] | None:
    """What is visible in the picture drawn at ``side`` pixels; None where there is nothing."""
    picture = _premultiplied(source, side)
    box = None if picture is None else _bounds(picture)
    if picture is None or box is None:
        return None
    left, top, right, bottom = box
    return picture[top:bottom, left:right]


def _premultiplied(source: str | bytes, side: int) -> npt.NDArray[np.float32] | None:
    """The picture as [H, W, 4] in 0..255, colours multiplied by alpha."""
    try:
        data = draw_svg(source, side) if isinstance(source, str) else source
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(image.convert("RGBA"), dtype=np.float32).copy()
    except (ValueError, OSError):
        return None
    pixels[..., :3] *= pixels[..., 3:] / 255
    return pixels


def draw_svg(source: str, side: int) -> bytes:
    """A PNG, ``side`` pixels along the longer edge, of SVG text with a ``{size}`` slot.

    Raises:
        ValueError: the SVG is broken.
        UnavailableError: the renderer is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise UnavailableError(
            "Rendering drawings needs resvg-py.", valid="pip install 'latent-studio[train]'"
        ) from error
    svg = source.replace("{size}", f' width="{side}" height="{side}"', 1)
    # Without system fonts the same drawing comes out on every machine.
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, dpi=96, skip_system_fonts=True))


def _bounds(picture: npt.NDArray[np.float32]) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of what is visible (alpha of 8 and more)."""
    seen = picture[..., 3] >= 8
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _centred(subject: npt.NDArray[np.float32], size: int, target: int) -> npt.NDArray[np.float32]:
    """The subject, its longer side ``target`` pixels, in the middle of a clear square."""
    height, width = subject.shape[:2]
    scale = target / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    planes = [
        np.asarray(Image.fromarray(subject[..., k]).resize(shape, Image.Resampling.LANCZOS))
        for k in range(4)
    ]
    canvas = np.zeros((size, size, 4), np.float32)
    x, y = (size - shape[0]) // 2, (size - shape[1]) // 2
    canvas[y : y + shape[1], x : x + shape[0]] = np.stack(planes, -1)
    return canvas


def _straight(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Colours divided by alpha again, rounded to bytes; clear pixels are all zero."""
    alpha = np.rint(picture[..., 3:].clip(0, 255))
    colour = picture[..., :3] * np.divide(255, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    return np.concatenate([np.rint(colour.clip(0, 255)), alpha], -1).astype(np.uint8)


def dominant_hue(pixels: npt.NDArray[np.uint8]) -> int | None:
    """The hue (0..359 degrees) of a drawing of one colour, else None.

    One colour means: at least 35% of the opaque pixels are saturated, and their hues have a mean
    resultant length of 0.8 or more.

    Args:
        pixels: [H, W, 4], RGBA.
    """
    opaque = pixels[pixels[..., 3] >= _OPAQUE][:, :3]
    share, mean = mean_hue(opaque) if len(opaque) else (0.0, 0j)
    if share < 0.35 or abs(mean) < 0.8:
        return None
    return round(float(np.degrees(np.angle(mean)))) % 360


def mean_hue(pixels: npt.NDArray[np.uint8]) -> tuple[float, complex]:
    """Share of saturated pixels, and the mean of their hues as points on the unit circle.

    Args:
        pixels: [N, 3], RGB, at least one.
    """
    hsv = np.asarray(Image.fromarray(pixels[None]).convert("HSV"), dtype=np.float64)[0] / 255
    saturated = (hsv[:, 1] >= 0.3) & (hsv[:, 2] >= 0.25)
    if not saturated.any():
        return 0.0, 0j
    return float(saturated.mean()), complex(np.exp(2j * np.pi * hsv[saturated, 0]).mean())
