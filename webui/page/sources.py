"""Pictures that a visitor gives to a form, and the masks painted over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from PIL import Image, ImageChops

from studio.errors import PictureError, RequestError
from studio.jobs.service import Service
from studio.webui.page.texts import label, say


def picture_field() -> gr.Image:
    """The field that a picture is dropped into. Its file is judged by the studio, not by Gradio."""
    return gr.Image(
        label=label("field.init_image"), type="filepath", image_mode=None,
        sources=["upload", "clipboard"], height=280, buttons=["fullscreen"],
        elem_classes=["picture"],
    )  # fmt: skip


def read_picture(service: Service, path: str | None, request: gr.Request) -> str:
    """Takes a picture in and returns its reference.

    Raises:
        RequestError: no picture, or none that can be read.
    """
    if not path:
        raise RequestError("init_image", None, _reason("inpaint.no_picture", request))
    return _added(service, path, "init_image")


def read_painted(
    service: Service, painted: Mapping[str, Any] | None, request: gr.Request
) -> dict[str, object]:
    """Init image and mask out of what an image editor holds: strokes are drawn anew.

    Raises:
        RequestError: no picture, or nothing painted.
    """
    background = painted.get("background") if painted else None
    if painted is None or background is None:
        raise RequestError("init_image", None, _reason("inpaint.no_picture", request))
    mask = painted_mask(background.size, painted.get("layers") or ())
    if mask.getbbox() is None:
        raise RequestError("mask", None, _reason("inpaint.no_mask", request))
    return {
        "init_image": _added(service, _plain(background), "init_image"),
        "mask": _added(service, mask, "mask"),
    }


def painted_mask(size: tuple[int, int], layers: Any) -> Image.Image:
    """White where any layer is painted at least half, black elsewhere; mode "L"."""
    mask = Image.new("L", size, 0)
    for layer in layers:
        alpha = layer.convert("RGBA").getchannel("A")
        if alpha.size != size:
            alpha = alpha.resize(size, Image.Resampling.BILINEAR)
        mask = ImageChops.lighter(mask, alpha.point(lambda value: 255 if value >= 128 else 0))
    return mask


def _plain(picture: Image.Image) -> Image.Image:
    """RGB where nothing is transparent: image editors always speak of RGBA."""
    opaque = picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255)
    return picture.convert("RGB") if opaque else picture


def _added(service: Service, source: str | Image.Image, field: str) -> str:
    try:
        return service.inputs.add(source)
    except PictureError as error:
        reason = error.what.rstrip(".")
        if isinstance(source, str):  # where the server keeps uploads is nobody's business
            reason = reason.replace(source, "the file")
        raise RequestError(field, "picture", reason, valid=error.valid) from None


def _reason(key: str, request: gr.Request) -> str:
    return say(key, request).rstrip(".。")
