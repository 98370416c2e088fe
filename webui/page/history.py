"""The tab of all earlier jobs: search, filter, favourite, delete, take up again."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from studio.errors import JobNotFound, JobStateError, StudioError
from studio.jobs.job import STATUSES, Job
from studio.jobs.service import Service
from studio.webui.page import views
from studio.webui.page.form import QUIET, problem
from studio.webui.page.texts import label, say
from studio.webui.page.visitors import owner

PAGE = 24
"""Jobs that are listed at once."""


class History:
    """The tab.

    Args:
        service: keeps the jobs.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        with gr.Tab(label("tab.history"), id="history", elem_id="tab-history") as self.tab:
            with gr.Row(elem_classes=["filters"]):
                self._text = gr.Textbox(
                    label=label("history.search"), placeholder=label("history.search_hint"),
                    scale=3, max_lines=1, elem_classes=["search"],
                )  # fmt: skip
                filters = [(label(f"filter.{name}"), name) for name in ("all", *STATUSES)]
                self._status = gr.Dropdown(
                    filters, value="all", label=label("history.status"), filterable=False
                )
                self._favourites = gr.Checkbox(label=label("history.favourites"))
                refresh = gr.Button(
                    label("button.refresh"), min_width=100, elem_classes=["refresh"]
                )
            self._listed = gr.Textbox("", visible=False)  # ids of the jobs in the gallery
            self._job = gr.Textbox("", visible=False)  # id of the chosen one
            with gr.Row(elem_classes=["shelf"]):
                with gr.Column(elem_classes=["found"], min_width=0):
                    self._count = gr.HTML("")
                    self._gallery = gr.Gallery(
                        label=label("history.pictures"), show_label=False, columns=4,
                        fit_columns=False, object_fit="cover",
                        interactive=False, allow_preview=False, height="auto", buttons=[],
                        elem_classes=["thumbs"],
                    )  # fmt: skip
                    self._more = gr.Button(label("button.more"), visible=False)
                with gr.Column(elem_classes=["chosen"], min_width=0):
                    self._details()
        self._filters = [self._text, self._status, self._favourites]
        found = [self._listed, self._gallery, self._count, self._more]
        # One event of many triggers: the answer to an older question never comes last.
        gr.on(
            [
                self._text.change, self._status.input, self._favourites.input, refresh.click,
                self.tab.select,
            ],
            self._found, self._filters, found, trigger_mode="always_last", **QUIET,
        )  # fmt: skip
        self._more.click(self._found_more, [self._listed, *self._filters], found, **QUIET)
        self._gallery.select(self._choose, self._listed, self._shown, **QUIET)
        self._connect_details(found)

    def _details(self) -> None:
        self._about = gr.HTML("", elem_classes=["about"])
        self._pictures = gr.Gallery(
            label=label("panel.results"), visible=False, interactive=False, columns=3,
            object_fit="contain", height="auto", preview=True, elem_classes=["results"],
            buttons=["download", "fullscreen"],
        )  # fmt: skip
        with gr.Column(visible=False) as self._actions:
            with gr.Row(elem_classes=["tight"]):
                self.use = gr.Button(label("button.use"), variant="primary", size="sm")
                self._favourite = gr.Button(label("button.favourite"), size="sm")
                self._delete = gr.Button(
                    label("button.delete"), size="sm", variant="stop", elem_classes=["delete"]
                )
            with gr.Group(visible=False, elem_classes=["confirm"]) as self._confirm:
                gr.Markdown(label("history.confirm"))
                with gr.Row(elem_classes=["tight"]):
                    self._yes = gr.Button(label("button.delete_yes"), variant="stop", size="sm")
                    self._no = gr.Button(label("button.delete_no"), size="sm")
            self._recipe = gr.Textbox(
                label=label("panel.recipe"), lines=6, max_lines=20, interactive=False,
                buttons=["copy"], elem_classes=["recipe"],
            )  # fmt: skip

    @property
    def _shown(self) -> list[Any]:
        return [
            self._job, self._about, self._pictures, self._actions, self._favourite, self._confirm,
            self._recipe,
        ]  # fmt: skip

    def _connect_details(self, found: list[Any]) -> None:
        self._favourite.click(self._mark, self._job, self._shown, **QUIET)
        self._delete.click(lambda: gr.update(visible=True), None, self._confirm, **QUIET)
        self._no.click(lambda: gr.update(visible=False), None, self._confirm, **QUIET)
        self._yes.click(self._deleted, [self._job, *self._filters], [*self._shown, *found], **QUIET)

    @property
    def job_id(self) -> gr.Textbox:
        """Holds the id of the chosen job."""
        return self._job

    def _found(
        self, text: str, status: str, favourites: bool, request: gr.Request, *, most: int = PAGE
    ) -> list[Any]:
        jobs = self._service.jobs(
            owner(request),
            text=text,
            status=next((each for each in STATUSES if each == status), None),
            favourites=favourites,
            limit=most + 1,
        )
        more, jobs = len(jobs) > most, jobs[:most]
        cards = [(_thumbnail(job), _caption(job, request)) for job in jobs]
        key = "history.count" if jobs else "history.empty"
        count = html.escape(say(key, request, n=f"{len(jobs)}{'+' if more else ''}"))
        return [
            " ".join(job.id for job in jobs),
            gr.update(value=cards, selected_index=None),
            f'<p class="count" role="status">{count}</p>',
            gr.update(visible=more),
        ]

    def _found_more(
        self, listed: str, text: str, status: str, favourites: bool, request: gr.Request
    ) -> list[Any]:
        most = len(listed.split()) + PAGE
        return self._found(text, status, favourites, request, most=most)

    def _choose(self, event: gr.SelectData, listed: str, request: gr.Request) -> list[Any]:
        return self._show(listed.split()[event.index], request)

    def _show(self, id: str, request: gr.Request) -> list[Any]:
        try:
            job = self._service.job(id, owner(request))
        except JobNotFound as error:
            return self._nothing(problem(error))
        pictures = [views.served(path) for path in job.pictures]
        text = views.recipe(job.pictures[0]) if job.pictures else job.request.to_json()
        word = "button.unfavourite" if job.favourite else "button.favourite"
        return [
            job.id,
            _about(job, request),
            gr.update(
                value=pictures, visible=bool(pictures), selected_index=0 if pictures else None
            ),
            gr.update(visible=True),
            gr.update(value=say(word, request)),
            gr.update(visible=False),
            text,
        ]

    def _nothing(self, about: str = "") -> list[Any]:
        hidden = gr.update(visible=False)
        return ["", about, gr.update(value=[], visible=False), hidden, gr.skip(), hidden, ""]

    def _mark(self, id: str, request: gr.Request) -> list[Any]:
        who = owner(request)
        try:
            self._service.favourite(id, not self._service.job(id, who).favourite, who)
        except StudioError as error:
            return self._nothing(problem(error))
        return self._show(id, request)

    def _deleted(
        self, id: str, text: str, status: str, favourites: bool, request: gr.Request
    ) -> list[Any]:
        who, said = owner(request), ""
        try:
            if not self._service.job(id, who).over:
                self._service.cancel(id, who)
                self._service.wait(id, timeout=5, owner=who)
            self._service.delete(id, who)
        except JobNotFound:
            pass  # another tab was faster
        except JobStateError as error:
            said = problem(error)
        return [*self._nothing(said), *self._found(text, status, favourites, request)]


def _about(job: Job, request: gr.Request) -> str:
    moment = datetime.fromtimestamp(job.created, UTC).strftime("%Y-%m-%d %H:%M UTC")
    star = "★ " if job.favourite else ""
    line = html.escape(views.status_line(job, request))
    return (
        f'<p class="status {job.status}">{star}{line}</p>'
        f'<p class="when">{moment} · {html.escape(job.request.model)}</p>'
    )


def _caption(job: Job, request: gr.Request) -> str:
    words = " ".join(job.request.prompt.split())
    star = "★ " if job.favourite else ""
    state = "" if job.status == "done" else f"[{say(f'filter.{job.status}', request)}] "
    return f"{star}{state}{words[:60] or '—'}"


def _thumbnail(job: Job) -> str | Image.Image:
    return views.served(Path(job.pictures[0])) if job.pictures else _sign(job.status)


@cache
def _sign(status: str) -> Image.Image:
    """A plain card for a job that has no picture."""
    picture = Image.new("RGB", (256, 256), "#d9ddd8")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((96, 96, 160, 160), outline="#63665f", width=8)
    if status in ("failed", "cancelled"):
        pen.line((106, 106, 150, 150), fill="#63665f", width=8)
    else:
        pen.line((128, 128, 128, 108), fill="#63665f", width=8)
        pen.line((128, 128, 144, 136), fill="#63665f", width=8)
    return picture
