"""The tab that draws a part of a picture anew; the part is painted in the browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from studio.jobs.service import Service
from studio.webui.page.desk import Desk
from studio.webui.page.form import Choices, group
from studio.webui.page.sources import read_painted
from studio.webui.page.text_to_image import advanced
from studio.webui.page.texts import label


class _InpaintDesk(Desk):
    def received(self, picture: Any) -> Any:
        shown = str(picture) if isinstance(picture, Path) else picture
        return gr.update(value=shown and {"background": shown, "layers": [], "composite": None})


def build(service: Service, choices: Choices) -> Desk:
    """Adds the tab."""
    desk = _InpaintDesk(service, choices, "inpaint")
    form = desk.form
    with desk.tab():
        with desk.ask():
            gr.Markdown(label("inpaint.hint"), elem_classes=["hint"])
            desk.own.append(
                gr.ImageEditor(
                    label=label("inpaint.editor"), type="pil", image_mode="RGBA",
                    sources=["upload", "clipboard"], transforms=(), layers=False, height=420,
                    brush=gr.Brush(
                        default_size=24, colors=["#ffffff"], default_color="#ffffff",
                        color_mode="fixed",
                    ),
                    format="png", buttons=["fullscreen"], elem_classes=["painting"],
                )
            )  # fmt: skip
            form.add_prompts()
            form.add("strength")
        with desk.settings():
            form.add("model")
            form.add_styles()
            form.add("mask_fill", "mask_feather", "only_masked", "only_masked_padding")
            form.add("sampler", "schedule", "steps", "guidance_scale")
            desk.add_seed()
            form.add("count")
            group("field.proportions", form, ("fit", "width", "height"))
            advanced(desk)

    def own(values: Sequence[Any], request: gr.Request) -> Mapping[str, object]:
        return read_painted(service, values[0], request)

    desk.connect(own)
    return desk
