"""Puts the tabs together into one page, and the page into a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gradio as gr
from fastapi import FastAPI, Request
from gradio.components import Component

from studio.errors import JobNotFound
from studio.jobs.service import Service
from studio.pipelines import cards
from studio.webui.page import (
    endpoint,
    image_to_image,
    inpaint,
    models,
    outpaint,
    text_to_image,
    upscale,
    views,
)
from studio.webui.page.desk import Desk
from studio.webui.page.flock import remembered
from studio.webui.page.form import QUIET, Choices
from studio.webui.page.grid import Grid
from studio.webui.page.history import History
from studio.webui.page.panel import REMEMBER
from studio.webui.page.picture_info import PictureInfo, taken
from studio.webui.page.prompt_file import PromptFile
from studio.webui.page.texts import label, translations, words
from studio.webui.page.theme import script, style_sheet, theme
from studio.webui.page.visitors import owner

KEPT_S = 24 * 3600
"""How long copies that the page handed out stay on the disk, in seconds."""

_FIRST = "text_to_image"
_ENLARGING = (cards.UPSCALER, *cards.ENLARGING)


def build(service: Service) -> gr.Blocks:
    """The page as Gradio blocks.

    Args:
        service: takes the jobs; all that the page shows comes from it.
    """
    choices = _choices(service)
    with gr.Blocks(
        title=words("en")["title"],
        analytics_enabled=False,
        delete_cache=(3600, KEPT_S),
        fill_width=True,
    ) as page:
        _header()
        kept_grid, kept_file = remembered("grid"), remembered("prompt-file")
        with gr.Tabs(selected=_FIRST, overflow_behavior="wrap", elem_classes=["rooms"]) as tabs:
            desks = {
                name: module.build(service, choices)
                for name, module in {
                    "text_to_image": text_to_image,
                    "image_to_image": image_to_image,
                    "inpaint": inpaint,
                    "outpaint": outpaint,
                    "upscale": upscale,
                }.items()
            }
            info = PictureInfo()
            grid = Grid(service, choices, kept_grid)
            prompt_file = PromptFile(service, kept_file)
            history = History(service)
            installed = models.build()
        for desk in desks.values():
            _connect_sending(desk, desks, tabs)
        _connect_history(history, service, desks, tabs)
        _connect_info(info, desks["text_to_image"], tabs)
        endpoint.add(service)

        def opened(request: gr.Request) -> list[Any]:
            resumed = [change for desk in desks.values() for change in desk.resume(request)]
            table = models.table(service.models(), request)
            return [_tab_of_address(service, request), table, *resumed]

        everywhere = [output for desk in desks.values() for output in desk.resumed]
        page.load(opened, None, [tabs, installed, *everywhere], **QUIET)
        for flock in (grid.flock, prompt_file.flock):
            page.load(flock.follow, flock.kept, flock.outputs, **QUIET)
    return cast(gr.Blocks, page)


def mount(
    app: FastAPI,
    service: Service,
    *,
    max_file_size: int | None = None,
    auth_dependency: Callable[[Request], str | None] | None = None,
) -> None:
    """Mounts the page at the root of a server.

    Args:
        app: the server.
        service: takes the jobs.
        max_file_size: largest upload, in bytes.
        auth_dependency: the login name that a request comes from; who has none is not let in.
    """
    page = build(service).queue(max_size=256, default_concurrency_limit=8)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        max_file_size=max_file_size,
        allowed_paths=[],
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        i18n=translations(),
        theme=theme(),
        css=style_sheet(),
        head=script(),
        auth_dependency=auth_dependency,
    )


def _header() -> None:
    with gr.Row(elem_classes=["masthead"]):
        gr.HTML(
            '<h1><svg viewBox="0 0 32 32" aria-hidden="true"><rect x="3" y="3" width="26"'
            ' height="26" rx="7"/><path d="M8 22l6-8 4 5 3-3 4 6z"/><circle cx="21" cy="11"'
            ' r="2.4"/></svg>Latent Studio</h1>'
        )
        gr.Markdown(label("tagline"), elem_classes=["tagline"])
        look = gr.Button(label("theme_toggle"), size="sm", min_width=44, elem_classes=["look"])
        look.click(None, None, None, js="() => window.studioToggleLook()", api_visibility="private")


def _choices(service: Service) -> Choices:
    known = service.models()
    enlarging = tuple(card.name for card in known if card.family in _ENLARGING)
    drawing = tuple(card.name for card in known if card.name not in enlarging)
    return Choices(models=drawing, upscalers=enlarging)


def _connect_sending(desk: Desk, desks: dict[str, Desk], tabs: gr.Tabs) -> None:
    """The buttons that take a picture on to another tab."""
    for target, button in desk.panel.send.items():
        goal = desks[target]
        source: Component = goal.own[0]

        def send(
            watched: str,
            chosen: float,
            request: gr.Request,
            goal: Desk = goal,
            target: str = target,
        ) -> tuple[Any, Any]:
            picture = desk.panel.picture(watched, chosen, request)
            if picture is None:
                return gr.skip(), gr.skip()
            return goal.received(Path(views.served(picture))), gr.Tabs(selected=target)

        button.click(send, [desk.panel.watched, desk.panel.chosen], [source, tabs], **QUIET)


def _connect_history(
    history: History, service: Service, desks: dict[str, Desk], tabs: gr.Tabs
) -> None:
    """ "Use it": a job of the history goes back to the tab that it came from."""
    outputs = [tabs, *(output for desk in desks.values() for output in desk.resumed)]

    def use(id: str, request: gr.Request) -> list[Any]:
        try:
            job = service.job(id, owner(request))
        except JobNotFound:
            return [gr.skip() for _ in outputs]
        name, changes = views.kind(job), []
        for other, desk in desks.items():
            if other == name:
                changes += desk.take_up(job, request)
            else:
                changes += [gr.skip() for _ in desk.resumed]
        return [gr.Tabs(selected=name), *changes]

    history.use.click(use, history.job_id, outputs, **QUIET).then(
        None, history.job_id, None, js=REMEMBER, queue=False, api_visibility="private"
    )


def _connect_info(info: PictureInfo, desk: Desk, tabs: gr.Tabs) -> None:
    """ "Use it": the recipe of a picture goes into the form of text to image."""

    def use(fields: str) -> list[Any]:
        return [gr.Tabs(selected=desk.kind), *desk.fill(taken(fields))]

    info.use.click(use, info.fields, [tabs, *desk.form.inputs], **QUIET)


def _tab_of_address(service: Service, request: gr.Request) -> Any:
    try:
        job = service.job(request.query_params.get("job", ""), owner(request))
    except JobNotFound:
        return gr.skip()
    kind = views.kind(job)
    # The first tab is open already; who has moved on meanwhile is not called back to it.
    return gr.skip() if kind == _FIRST else gr.Tabs(selected=kind)
