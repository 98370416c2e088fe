"""The tab that draws from words alone."""

from __future__ import annotations

from studio.jobs.service import Service
from studio.webui.page.desk import Desk
from studio.webui.page.form import Choices, group


def build(service: Service, choices: Choices) -> Desk:
    """Adds the tab."""
    desk = Desk(service, choices, "text_to_image")
    form = desk.form
    with desk.tab():
        with desk.ask():
            form.add_prompts()
        with desk.settings():
            form.add("model")
            form.add_styles()
            form.add("sampler", "schedule", "steps", "guidance_scale")
            form.add_size()
            desk.add_seed()
            form.add("count")
            hires = ("hires_scale", "hires_steps", "hires_strength", "hires_upscaler")
            group("group.hires", form, hires)
            advanced(desk)
    desk.connect()
    return desk


def advanced(desk: Desk) -> None:
    """The folded fields that every drawing tab has."""
    group("group.variation", desk.form, ("variation_strength", "variation_seed"))
    guidance = ("guidance_rescale", "guidance_start", "guidance_end")
    group("group.advanced", desk.form, (*guidance, "clip_skip", "seamless"))
