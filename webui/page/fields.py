"""One description of every field of a request as people edit it. Tabs pick from it.

Kinds and limits come from :class:`Request` itself; here stands only what a form adds to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from gradio.components import Component

from studio.pipelines.request import Request
from studio.schedulers import catalogue
from studio.webui.page.texts import label, words

Kind = Literal["text", "seed", "slider", "number", "choice", "check"]


@dataclass(frozen=True)
class Control:
    """How a field is edited.

    Args:
        kind: the widget; a seed is text, since browsers round numbers above 2**53.
        low, high, step: of a slider; higher values are taken when they are set. Of a number only
            the step counts: the request says what is wrong with it.
        start: what an open field shows, where the request itself has no default.
        lines: of a text.
    """

    kind: Kind
    low: float = 0
    high: float = 1
    step: float = 0.05
    start: Any = None
    lines: int = 1


_SIZE = Control("number", step=8)
_EDGE = Control("slider", 0, 512, 8)
CONTROLS: Mapping[str, Control] = {
    "prompt": Control("text", lines=3),
    "negative_prompt": Control("text", lines=2),
    "model": Control("choice"),
    "sampler": Control("choice"),
    "schedule": Control("choice"),
    "steps": Control("slider", 1, 100, 1, start=20),
    "guidance_scale": Control("slider", 1, 20, 0.5, start=7),
    "guidance_rescale": Control("slider"),
    "guidance_start": Control("slider"),
    "guidance_end": Control("slider"),
    "clip_skip": Control("slider", 1, 12, 1),
    "seed": Control("seed"),
    "count": Control("slider", 1, 16, 1),
    "variation_seed": Control("seed"),
    "variation_strength": Control("slider"),
    "width": _SIZE,
    "height": _SIZE,
    "seamless": Control("check"),
    "strength": Control("slider", start=0.75),
    "fit": Control("choice"),
    "keep_luminance": Control("check"),
    "mask_feather": Control("slider", 0, 64, 1),
    "mask_fill": Control("choice"),
    "only_masked": Control("check"),
    "only_masked_padding": Control("slider", 0, 256, 8),
    "extend_left": _EDGE,
    "extend_right": _EDGE,
    "extend_top": _EDGE,
    "extend_bottom": _EDGE,
    "upscale": Control("slider", 2, 4, 1, start=2),
    "noise_level": Control("slider", 0, 350, 10, start=20),
    "hires_scale": Control("slider", 1, 4, 0.25),
    "hires_steps": Control("slider", 1, 100, 1, start=20),
    "hires_strength": Control("slider", start=0.5),
    "hires_upscaler": Control("choice"),
}
"""The fields that forms show."""

_ONLY_WITH = {
    "variation_seed": "variation_strength",
    "hires_steps": "hires_scale",
    "hires_strength": "hires_scale",
    "hires_upscaler": "hires_scale",
    "only_masked_padding": "only_masked",
}  # a form always shows these; they count only where the other field is set


def widget(name: str, choices: Mapping[str, list[str]]) -> Component:
    """The widget of a field.

    Args:
        name: a key of :data:`CONTROLS`.
        choices: names that depend on what is installed: models, hires_upscaler.
    """
    control = CONTROLS[name]
    shown: dict[str, Any] = {"label": label(f"field.{name}"), "elem_classes": [f"field-{name}"]}
    if f"info.{name}" in words("en"):
        shown["info"] = label(f"info.{name}")
    start = _start(name)
    if control.kind == "choice":
        offered = _choices(name, choices)
        values = [entry[1] if isinstance(entry, tuple) else entry for entry in offered]
        if start not in values:
            start = values[0] if values else None
        return gr.Dropdown(offered, value=start, **shown)
    if control.kind == "check":
        return gr.Checkbox(value=start, **shown)
    if control.kind == "slider":
        return gr.Slider(
            control.low, control.high, step=control.step, value=start, buttons=[], **shown
        )
    if control.kind == "number":
        return gr.Number(
            start, step=control.step, placeholder=label("open"), **shown
        )  # fmt: skip
    return gr.Textbox(start, lines=control.lines, max_lines=max(1, control.lines * 4), **shown)


def update(name: str, value: Any) -> dict[str, Any]:
    """The change that makes the widget of a field show a value; an open one its start."""
    control = CONTROLS[name]
    if value is None:
        value = _start(name)
    if control.kind == "slider" and value is not None:
        high, low = max(control.high, value), min(control.low, value)
        return dict(gr.update(value=value, maximum=high, minimum=low))
    if control.kind == "seed":
        value = "" if value in (None, "") else str(value)
    return dict(gr.update(value=value))


def read(values: Mapping[str, Any]) -> dict[str, object]:
    """The fields of a request out of what widgets hold; what has no effect is left out.

    What cannot be read as the field's kind stays as it is: the request refuses it and says why.
    """
    fields = {name: _value(name, value) for name, value in values.items()}
    given = {
        name: value
        for name, value in fields.items()
        if value is not None and value != Request.model_fields[name].default
    }
    return {name: value for name, value in given.items() if _ONLY_WITH.get(name, name) in given}


def _value(name: str, value: Any) -> object:
    if value is None or (value == "" and name not in ("prompt", "negative_prompt")):
        return None
    kinds = _kinds(name)
    if CONTROLS[name].kind == "seed":
        text = str(value).strip()
        return int(text) if text.removeprefix("-").isdecimal() else text or None
    if CONTROLS[name].kind == "number" and not value:
        return None  # browsers say 0 of an empty number
    if int in kinds and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _start(name: str) -> Any:
    default = Request.model_fields[name].get_default()
    if name == "prompt" or (default is None and CONTROLS[name].kind == "seed"):
        return ""
    return CONTROLS[name].start if default is None else default


def _choices(name: str, choices: Mapping[str, list[str]]) -> list[Any]:
    if name == "sampler":
        return [row.name for row in catalogue.samplers()]
    if name == "schedule":
        return [row.name for row in catalogue.schedules()]
    if name in choices:
        return list(choices[name])
    return [(label(f"choice.{value}"), value) for value in _literals(name)]


def _literals(name: str) -> tuple[str, ...]:
    annotation = Request.model_fields[name].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _kinds(name: str) -> set[Any]:
    """The plain types that a field takes."""
    found: set[Any] = set()
    waiting = [Request.model_fields[name].annotation]
    while waiting:
        kind = waiting.pop()
        found.add(kind)
        waiting += get_args(kind)
    return found
