"""The tab that enlarges a picture with an upscaler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from studio.jobs.service import Service
from studio.webui.page.desk import Desk
from studio.webui.page.form import Choices
from studio.webui.page.sources import picture_field, read_picture
from studio.webui.page.texts import label


def build(service: Service, choices: Choices) -> Desk:
    """Adds the tab."""
    desk = Desk(service, choices, "upscale", button="button.upscale")
    form = desk.form
    with desk.tab():
        with desk.ask(bool(choices.upscalers)):
            key = "upscale.hint" if choices.upscalers else "upscale.none"
            gr.Markdown(label(key), elem_classes=["hint"])
            desk.own.append(picture_field())
            form.add("upscale", "noise_level")
            form.add_prompts()
        with desk.settings():
            form.add("model", "sampler", "schedule", "steps", "guidance_scale")
            desk.add_seed()

    def own(values: Sequence[Any], request: gr.Request) -> Mapping[str, object]:
        return {"init_image": read_picture(service, values[0], request)}

    desk.connect(own)
    return desk
