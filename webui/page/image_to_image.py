"""The tab that draws a picture anew, as far as its strength says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from studio.jobs.service import Service
from studio.webui.page.desk import Desk
from studio.webui.page.form import Choices
from studio.webui.page.sources import picture_field, read_picture
from studio.webui.page.text_to_image import advanced


def build(service: Service, choices: Choices) -> Desk:
    """Adds the tab."""
    desk = Desk(service, choices, "image_to_image")
    form = desk.form
    with desk.tab():
        with desk.ask():
            desk.own.append(picture_field())
            form.add_prompts()
            form.add("strength")
        with desk.settings():
            form.add("model")
            form.add_styles()
            form.add("fit", "keep_luminance", "sampler", "schedule", "steps", "guidance_scale")
            form.add_size()
            desk.add_seed()
            form.add("count")
            advanced(desk)

    def own(values: Sequence[Any], request: gr.Request) -> Mapping[str, object]:
        return {"init_image": read_picture(service, values[0], request)}

    desk.connect(own)
    return desk
