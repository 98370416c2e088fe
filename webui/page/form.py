"""The form of a request: the widgets of some fields, and the way from them to a request."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from studio.errors import StudioError
from studio.pipelines import cards
from studio.pipelines.request import Request
from studio.styles import styled, styles
from studio.webui.page import fields, tokens
from studio.webui.page.texts import label

PROPORTIONS = ("1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16")
"""Ratios of width to height that one press chooses."""

_OF_THE_MODEL = ("sampler", "schedule", "steps", "guidance_scale", "upscale", "noise_level")
_SIDES = ("width", "height")


@dataclass(frozen=True)
class Choices:
    """Names that depend on what is installed.

    Args:
        models: models that draw.
        upscalers: models that enlarge.
    """

    models: tuple[str, ...]
    upscalers: tuple[str, ...] = ()

    def by_field(self, upscaling: bool) -> Mapping[str, list[str]]:
        """The choices of the fields that name models."""
        return {
            "model": list(self.upscalers if upscaling else self.models),
            "hires_upscaler": ["latent", "lanczos", *self.upscalers],
        }


class Form:
    """Widgets by the name of their field, in the order in which they were added.

    Args:
        choices: what is installed.
        upscaling: whether the model is an upscaler.
        pictured: whether an open size is that of a picture, not of the model.
    """

    def __init__(
        self, choices: Choices, *, upscaling: bool = False, pictured: bool = False
    ) -> None:
        self._choices = choices.by_field(upscaling)
        self._sized_by_model = not pictured
        self._known = set(self._choices["model"])
        self.widgets: dict[str, Component] = {}
        self.styles: gr.Dropdown | None = None

    def add(self, *names: str) -> None:
        """Puts the widgets of these fields here."""
        for name in names:
            self.widgets[name] = fields.widget(name, self._choices)

    def add_prompts(self) -> None:
        """Prompt with its count of tokens, negative prompt."""
        self.add("prompt")
        self._counter = gr.HTML("", elem_classes=["tokens"])
        self.add("negative_prompt")

    def add_styles(self) -> None:
        """The choice of styles."""
        self.styles = gr.Dropdown(
            list(styles()), value=[], multiselect=True, label=label("field.styles"),
            info=label("info.styles"), elem_classes=["field-styles"],
        )  # fmt: skip

    def add_size(self) -> None:
        """Width, height and what sets both."""
        ratio = gr.Radio(PROPORTIONS, label=label("field.proportions"), elem_classes=["chips"])
        with gr.Row(elem_classes=["tight"]):
            self.add("width", "height")
            swap = _icon("swap")
        sides = [self.widgets["width"], self.widgets["height"]]
        ratio.input(self._sized, [ratio, self.widgets["model"]], sides, **QUIET)
        swap.click(lambda width, height: (height, width), sides, sides, **QUIET)

    def add_seed(self) -> tuple[gr.Button, Component]:
        """The seed with its dice; returns the button "last seed" for the tab to connect."""
        with gr.Row(elem_classes=["tight"]):
            self.add("seed")
            dice = _icon("dice")
            reuse = _icon("reuse")
        seed = self.widgets["seed"]
        dice.click(lambda: "", None, seed, **QUIET)
        return reuse, seed

    def connect(self) -> None:
        """Wires the widgets to one another, once all are there."""
        if "prompt" in self.widgets:
            asked = [self.widgets[name] for name in ("prompt", "model")]
            for widget in asked:
                change = widget.change  # type: ignore[attr-defined]
                change(tokens.counted, asked, self._counter, trigger_mode="always_last", **QUIET)
        self._follow_model()

    def _follow_model(self) -> None:
        """Choosing a model shows its own defaults."""
        names = self._of_the_model
        outputs = [self.widgets[name] for name in names]

        def defaults(model: str) -> Any:
            try:
                own = cards.card(model).defaults
            except StudioError:
                return [gr.skip() for _ in names]
            return [fields.update(name, getattr(own, name)) for name in names]

        model = self.widgets["model"]
        model.input(defaults, model, outputs, **QUIET)  # type: ignore[attr-defined]

    def open_with(self, model: str) -> None:
        """Lets the widgets begin with the defaults of a model."""
        try:
            own = cards.card(model).defaults
        except StudioError:
            return
        for name in self._of_the_model:
            if getattr(own, name) is not None:
                self.widgets[name].value = getattr(own, name)

    @property
    def _of_the_model(self) -> list[str]:
        wanted = (*_OF_THE_MODEL, *(_SIDES if self._sized_by_model else ()))
        return [name for name in wanted if name in self.widgets]

    @property
    def inputs(self) -> list[Component]:
        """All widgets, for an event; their values go to :meth:`read`."""
        return [*self.widgets.values(), *([self.styles] if self.styles else [])]

    def read(self, values: Sequence[Any]) -> dict[str, object]:
        """The fields of a request, from the values of :attr:`inputs`, styles put in."""
        found = fields.read(dict(zip(self.widgets, values, strict=False)))
        if self.styles is not None and values[-1]:
            prompts = [str(found.get(name, "")) for name in ("prompt", "negative_prompt")]
            prompt, negative = styled(prompts[0], prompts[1], values[-1])
            found |= {"prompt": prompt, "negative_prompt": negative}
        return found

    def updates(self, given: Request | Mapping[str, object]) -> list[Any]:
        """What makes :attr:`inputs` show a request; open fields show where they begin."""
        values = given if isinstance(given, Mapping) else given.model_dump()
        changes = [self._update(name, values.get(name)) for name in self.widgets]
        return [*changes, *([gr.update(value=[])] if self.styles else [])]

    def _update(self, name: str, value: Any) -> Any:
        if name == "model" and value not in self._known:
            return gr.skip()  # drawn elsewhere, with a model that is not here
        return fields.update(name, value)

    def _sized(self, ratio: str, model: str) -> tuple[int, int]:
        width, height = (int(part) for part in ratio.split(":"))
        try:
            own = cards.card(model).defaults
            area = own.width * own.height
        except StudioError:
            area = 512 * 512
        long = math.sqrt(area * width / height)
        return max(64, round(long / 8) * 8), max(64, round(area / long / 8) * 8)


QUIET: dict[str, Any] = {
    "queue": False,
    "show_progress": "hidden",
    "api_visibility": "private",
}
"""For events that answer at once and show no sign of waiting."""


def problem(error: StudioError | None) -> str:
    """What went wrong, in the error's own words, as HTML to stand beside the form."""
    if error is None:
        return ""
    return f'<p role="alert" class="problem">{html.escape(str(error))}</p>'


def _icon(name: str) -> gr.Button:
    """A small button that shows a sign; its words are for those who cannot see it."""
    return gr.Button(label(f"button.{name}"), size="sm", min_width=44, elem_classes=["sign", name])


def group(title: str, form: Form, names: Iterable[str]) -> None:
    """A folded group of fields."""
    with gr.Accordion(label(title), open=False, elem_classes=["fold"]):
        form.add(*names)
