"""Which fields of a request mean something only beside others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.errors import RequestError
from studio.pipelines import prompt_tags

if TYPE_CHECKING:
    from studio.pipelines.request import Request

_LARGEST = 4096  # pixels along an edge
_MULTIPLE = 8

_SIDES = ("extend_left", "extend_right", "extend_top", "extend_bottom")
_CONTROL = ("control_preprocessor", "control_strength", "control_start", "control_end")
_REDRAWN = ("mask", *_SIDES)

_COMPANY = {
    "strength": ("init_image",),
    "fit": ("init_image", "control_image"),
    "keep_luminance": ("init_image",),
    "mask": ("init_image",),
    **dict.fromkeys(_SIDES, ("init_image",)),
    "upscale": ("init_image",),
    "noise_level": ("init_image",),
    "mask_feather": _REDRAWN,
    "mask_fill": _REDRAWN,
    "only_masked": ("mask",),
    "only_masked_padding": ("only_masked",),
    "refiner_start": ("refiner",),
    "control": ("control_image",),
    "control_image": ("control",),
    **dict.fromkeys(_CONTROL, ("control",)),
    "ip_adapter": ("ip_adapter_image",),
    "ip_adapter_image": ("ip_adapter",),
    "ip_adapter_scale": ("ip_adapter",),
    "hires_steps": ("hires_scale",),
    "hires_strength": ("hires_scale",),
    "hires_upscaler": ("hires_scale",),
}
"""Each field and those of which one must be set as well."""

_CLASHES = {
    "control": (("only_masked",), "follows the whole picture, not a part of it"),
    "only_masked": (_SIDES, "draws a part of the picture alone"),
    "keep_luminance": (_SIDES, "has no luminance to keep beyond the edges"),
}
"""Each field, those that it does not go with, and why."""


def check_company(request: Request) -> None:
    """Refuses a field that was set and can have no effect, or none beside another.

    Raises:
        RequestError: the field; names what it goes with.
    """
    fields = type(request).model_fields
    is_set = {name for name in fields if getattr(request, name) != fields[name].default}
    for name, company in _COMPANY.items():
        if name in is_set and not is_set.intersection(company):
            partners = " or ".join(company)
            raise RequestError(
                name,
                getattr(request, name),
                f"has no effect without {partners}",
                valid=f"also {partners}, or {name} left out",
            )
    for name, (others, why) in _CLASHES.items():
        clash = is_set.intersection(others)
        if name in is_set and clash:
            raise RequestError(
                name, getattr(request, name), why, valid=f"it without {', '.join(sorted(clash))}"
            )
    _check_sizes(request)


def check_adapters(request: Request) -> None:
    """Refuses LoRAs and textual inversions that are named in a way that cannot be used.

    Raises:
        RequestError: the field.
    """
    prompt_tags.loras(request.prompt)
    prompt_tags.refuse_loras(request.negative_prompt, "negative_prompt")
    for field in ("lora", "embedding"):
        for text in getattr(request, field):
            if "\0" in text:
                raise RequestError(field, text, "a NUL character", valid="any other text")
    for text in request.lora:
        prompt_tags.lora_use(text)


def listed(value: object) -> object:
    """A list as a tuple; a text as those between its semicolons."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(";")] if value else []
    return tuple(value) if isinstance(value, list) else value


def check_interval(request: Request, start: str, end: str) -> None:
    """Refuses a share of the steps that ends before it begins.

    Args:
        request: any.
        start: the field where it begins.
        end: the field where it ends.

    Raises:
        RequestError: names ``start``.
    """
    first, last = getattr(request, start), getattr(request, end)
    if first > last:
        valid = f"a number from 0 to {last}"
        raise RequestError(start, first, f"lies after {end} = {last}", valid=valid)


def _check_sizes(request: Request) -> None:
    if request.upscale is not None:
        for name in ("width", "height"):
            if getattr(request, name) is not None:
                raise RequestError(
                    name,
                    getattr(request, name),
                    "has no effect beside upscale, which says the size",
                    valid=f"upscale, or {name}",
                )
    if request.hires_scale == 1:
        return
    if request.init_image is not None:
        raise RequestError(
            "hires_scale",
            request.hires_scale,
            "goes with pictures from text alone",
            valid="1, or a request without init_image",
        )
    longest = max(request.width or 0, request.height or 0)
    if enlarged(longest, request.hires_scale) > _LARGEST:
        raise RequestError(
            "hires_scale",
            request.hires_scale,
            f"makes {longest} pixels larger than {_LARGEST}",
            valid=f"at most {_LARGEST / longest:.4g}",
        )


def enlarged(edge: int, scale: float) -> int:
    """Pixels along an edge after hires fix: a multiple of 8 nearest to ``scale`` times as many."""
    return round(edge * scale / _MULTIPLE) * _MULTIPLE
