"""Reads the recipe of a picture that any of the common tools drew, as far as ours can follow it.

What is read is data: nothing of it is executed, and no file that it names is opened. Every setting
without a counterpart is named, never passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from PIL import ExifTags, Image

from studio.errors import PictureError, RequestError
from studio.importing import comfyui, json_forms, parameters_form
from studio.importing.draft import Draft
from studio.picture_files import opened
from studio.pipelines import cards, prompt_tags
from studio.pipelines.adapter_files import Kind, is_there
from studio.pipelines.request import Request

_LONGEST = 4_000_000  # characters of one text; graphs of ComfyUI are long, honest ones not so long
_MAKER_NOTE = 0x927C
_OF_PICTURES = (
    "init_image", "mask", "strength", "fit", "keep_luminance", "upscale", "noise_level",
    "only_masked", "only_masked_padding", "mask_feather", "mask_fill",
    "extend_left", "extend_right", "extend_top", "extend_bottom",
    "control", "control_image", "control_preprocessor", "control_strength", "control_start",
    "control_end", "ip_adapter", "ip_adapter_image", "ip_adapter_scale",
)  # fmt: skip
_READERS = (
    parameters_form.read_own,
    json_forms.read_novelai,
    json_forms.read_invokeai,
    parameters_form.read,
    comfyui.read,
    json_forms.read_imaginairy,
)


@dataclass(frozen=True)
class Imported:
    """What a picture says about how it was drawn.

    Args:
        source: the tool that drew it.
        fields: of a :class:`Request`; each can be used as it is.
        notes: what was lost or is only nearly the same, one sentence each.
        text: the recipe as it stands in the file.
    """

    source: str
    fields: Mapping[str, object]
    notes: tuple[str, ...]
    text: str


def read_any(path: str | Path) -> Imported:
    """The recipe in a picture file of this studio, AUTOMATIC1111, Forge, SD.Next, Fooocus, ComfyUI,
    InvokeAI, NovelAI, imaginAIry or stable-diffusion.cpp.

    Raises:
        PictureError: not a PNG, JPEG or WebP file, or one without any recipe known here.
    """
    with opened(path) as image:
        texts = _texts(image)
    for read in _READERS:
        draft = read(texts)
        if draft is not None:
            return Imported(draft.source, _usable(draft), tuple(draft.notes), draft.text)
    raise PictureError(
        f"{path} holds no recipe that is known here.",
        valid="a picture as one of the tools saved it; many sites strip the recipe",
    )


def _texts(image: Image.Image) -> dict[str, str]:
    """The texts in a file: PNG's by their key, EXIF's under the names that PNG has for them."""
    image.load()  # PNG allows texts after the pixels
    found = {
        key: str(value)
        for key, value in image.info.items()
        if isinstance(key, str) and isinstance(value, str)
    }
    exif = image.getexif()
    comment = _comment(exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment))
    if comment:
        found.setdefault("parameters", comment)
    for tag, key in {
        ExifTags.Base.ImageDescription: "description",
        ExifTags.Base.Software: "Software",
        _MAKER_NOTE: "fooocus_scheme",
    }.items():
        value = exif.get(tag) or exif.get_ifd(ExifTags.IFD.Exif).get(tag)
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if isinstance(text, str) and text:
            found.setdefault(key, text.rstrip("\0"))
    for tag in (ExifTags.Base.Make, ExifTags.Base.Model):  # ComfyUI: "prompt:{...}"
        text = exif.get(tag)
        if isinstance(text, str) and ":{" in text:
            key, _, value = text.partition(":")
            found.setdefault(key.strip(), value.rstrip("\0"))
    own = found.get("description", "")
    if own.startswith("studio:"):
        found.setdefault("studio", own.removeprefix("studio:"))
    return {key: text for key, text in found.items() if len(text) <= _LONGEST}


def _comment(raw: Any) -> str:
    """EXIF's UserComment: eight bytes name its encoding, and tools differ in its byte order."""
    if isinstance(raw, str):
        return raw
    if not isinstance(raw, bytes):
        return ""
    mark, body = raw[:8], raw[8:]
    if mark == b"UNICODE\0":
        big, little = (body.decode(f"utf-16-{order}", "replace") for order in ("be", "le"))
        return max(big, little, key=lambda text: sum(char.isascii() for char in text)).rstrip("\0")
    if mark[:5] == b"ASCII":
        return body.decode("utf-8", "replace").rstrip("\0")
    return raw.decode("utf-8", "replace").strip("\0")


def _drop_missing_files(draft: Draft, fields: dict[str, object]) -> None:
    """Leaves LoRAs and the like that the user has by name; a recipe's paths are not followed."""
    for field in ("prompt", "negative_prompt"):
        kept = partial(is_there, "lora") if field == "prompt" else lambda _: False
        fields[field], lost = prompt_tags.sifted(str(fields.get(field, "")), kept)
        for name in lost:
            draft.lose(f"The lora {name} is not applied.")
    kinds: tuple[Kind, ...] = ("lora", "embedding", "vae")
    for kind in kinds:
        value = fields.get(kind) or ()
        names = [value] if isinstance(value, str) else list(cast("tuple[str, ...]", value))
        bare = [prompt_tags.lora_use(name).name if kind == "lora" else name for name in names]
        for name in bare:
            if not is_there(kind, name):
                draft.lose(f"The {kind} {name} is not applied.")
                fields.pop(kind, None)


def _usable(draft: Draft) -> dict[str, object]:
    """The fields that a request takes; the others are noted and dropped one by one."""
    fields = dict(draft.fields)
    model = fields.get("model")
    if model is not None and model not in {known.name for known in cards.models()}:
        draft.lose(f"The model {model} is not here.")
        del fields["model"]
    lost = [name for name in _OF_PICTURES if name in fields]
    if lost:
        draft.lose("The picture that it was drawn from is not in the file.")
    for name in lost:
        del fields[name]
    fields.setdefault("prompt", "")
    _drop_missing_files(draft, fields)
    while True:
        try:
            Request.of(**fields)
            return fields
        except RequestError as error:
            if error.field not in fields or error.field == "prompt":
                raise PictureError(f"The recipe cannot be used: {error}") from None
            draft.lose(f"{error.field} = {fields[error.field]!r}: {error.reason}.")
            del fields[error.field]
