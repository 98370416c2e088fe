"""Which fields of a request mean something only beside others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studio.errors import RequestError

if TYPE_CHECKING:
    from studio.pipelines.request import Request

_SIDES = ("extend_left", "extend_right", "extend_top", "extend_bottom")
_REDRAWN = ("mask", *_SIDES)

_COMPANY = {
    "strength": ("init_image",),
    "fit": ("init_image",),
    "keep_luminance": ("init_image",),
    "mask": ("init_image",),
    **dict.fromkeys(_SIDES, ("init_image",)),
    "upscale": ("init_image",),
    "noise_level": ("init_image",),
    "mask_feather": _REDRAWN,
    "mask_fill": _REDRAWN,
    "only_masked": ("mask",),
    "only_masked_padding": ("only_masked",),
    "hires_steps": ("hires_scale",),
    "hires_strength": ("hires_scale",),
    "hires_upscaler": ("hires_scale",),
}
"""Each field and those of which one must be set as well."""


def check_company(request: Request) -> None:
    """Refuses a field that was set and can have no effect.

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
