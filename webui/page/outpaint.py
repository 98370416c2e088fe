"""The tab that draws what lies beyond the edges of a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from studio.jobs.service import Service
from studio.webui.page.desk import Desk
from studio.webui.page.form import Choices
from studio.webui.page.sources import picture_field, read_picture
from studio.webui.page.text_to_image import advanced
from studio.webui.page.texts import label


def build(service: Service, choices: Choices) -> Desk:
    """Adds the tab."""
    desk = Desk(service, choices, "outpaint")
    form = desk.form
    with desk.tab():
        with desk.ask():
            gr.Markdown(label("outpaint.hint"), elem_classes=["hint"])
            desk.own.append(picture_field())
            with gr.Row(elem_classes=["pair"]):
                form.add("extend_left", "extend_right")
            with gr.Row(elem_classes=["pair"]):
                form.add("extend_top", "extend_bottom")
            form.add_prompts()
        with desk.settings():
            form.add("model")
            form.add_styles()
            form.add("mask_fill", "mask_feather", "strength")
            form.add("sampler", "schedule", "steps", "guidance_scale")
            desk.add_seed()
            form.add("count")
            advanced(desk)

    def own(values: Sequence[Any], request: gr.Request) -> Mapping[str, object]:
        return {"init_image": read_picture(service, values[0], request)}

    desk.connect(own)
    return desk
