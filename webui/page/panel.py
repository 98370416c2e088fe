"""The job beside a form: its progress, its pictures and what can be done with them.

The panel owns nothing. It remembers the job's id, in the browser, and asks the service again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import JobNotFound, JobStateError
from studio.jobs.job import Job
from studio.jobs.service import Service
from studio.webui.page import views
from studio.webui.page.form import QUIET
from studio.webui.page.texts import label, say
from studio.webui.page.visitors import owner

POLL_S = 0.5
"""How often a page asks how a job is going, in seconds."""

REMEMBER = "(watched) => { window.studioRemember(watched); }"
"""Puts the id of the watched job into the page's address."""


class Panel:
    """Shows one job of one tab.

    Args:
        service: keeps the jobs.
        kind: the tab's name; a reload takes up the last unfinished job of this kind.
        targets: tabs that a picture can be sent to.
    """

    def __init__(self, service: Service, kind: str, targets: Sequence[str]) -> None:
        self._service, self._kind = service, kind
        self.watched = gr.Textbox("", visible=False)  # "<job id> <version> <pictures shown>"
        self.chosen = gr.Number(0, visible=False, precision=0)
        self.status = gr.HTML("", elem_classes=["job-status"])
        with gr.Row(visible=False, elem_classes=["tight"]) as self.running:
            stop = gr.Button(label("button.interrupt"), variant="stop", elem_classes=["interrupt"])
            skip = gr.Button(label("button.skip"), elem_classes=["skip"])
        self.idle = gr.Markdown(label("status.idle"), elem_classes=["idle"])
        self.preview = gr.HTML("", visible=False, elem_classes=["stage"])
        self.gallery = gr.Gallery(
            label=label("panel.results"), visible=False, interactive=False, columns=2,
            object_fit="contain", height="auto", preview=True, elem_classes=["results"],
            buttons=["download", "fullscreen"],
        )  # fmt: skip
        with gr.Column(visible=False, elem_classes=["after"]) as self.after:
            with gr.Row(elem_classes=["tight", "send"]):
                self.send = {
                    target: gr.Button(label(f"button.to_{target}"), size="sm", min_width=120)
                    for target in targets
                }
            with gr.Accordion(label("panel.recipe"), open=False, elem_classes=["fold"]):
                self.recipe = gr.Textbox(
                    show_label=True, label=label("panel.recipe"), lines=4, max_lines=14,
                    interactive=False, buttons=["copy"], elem_classes=["recipe"],
                )  # fmt: skip
        self.timer = gr.Timer(POLL_S, active=False)

        self.timer.tick(self._follow, self.watched, self.outputs, **QUIET)
        stop.click(self._stop, self.watched, None, **QUIET)
        skip.click(self._skip, self.watched, None, **QUIET)
        self.gallery.select(self._choose, self.watched, [self.chosen, self.recipe], **QUIET)

    @property
    def outputs(self) -> list[Any]:
        """What :meth:`show` fills."""
        return [
            self.watched,
            self.status,
            self.running,
            self.idle,
            self.preview,
            self.gallery,
            self.after,
            self.recipe,
            self.chosen,
            self.timer,
        ]

    def show(self, job: Job | None, request: gr.Request | None) -> list[Any]:
        """Everything there is to show of a job; of none, an invitation."""
        if job is None:
            hidden = gr.update(visible=False)
            return [
                "", "", hidden, gr.update(visible=True), hidden,
                gr.update(value=[], visible=False), hidden, "", 0, gr.update(active=False),
            ]  # fmt: skip
        pictures = [views.served(path) for path in job.pictures]
        forming = not job.over or not pictures
        return [
            f"{job.id} {job.version} {len(pictures)}",
            views.status(job, request),
            gr.update(visible=not job.over),
            gr.update(visible=False),
            self._stage(job, request) if forming else gr.update(value="", visible=False),
            gr.update(
                value=pictures, visible=bool(pictures), selected_index=0 if pictures else None
            ),
            gr.update(visible=bool(pictures) and job.over),
            views.recipe(job.pictures[0]) if pictures and job.over else "",
            0,
            gr.update(active=not job.over),
        ]

    def found(self, request: gr.Request) -> Job | None:
        """The job of this kind that a page should show when it opens."""
        who = owner(request)
        wanted = request.query_params.get("job", "")
        if wanted:
            try:
                job = self._service.job(wanted, who)
            except JobNotFound:
                return None
            if views.kind(job) == self._kind:
                return job
        for status in ("running", "queued"):
            for job in self._service.jobs(who, status=status):
                if views.kind(job) == self._kind:
                    return job
        return None

    def picture(self, watched: str, chosen: float, request: gr.Request) -> Path | None:
        """The chosen picture of the job that is shown."""
        job = self.job(watched, request)
        if job is None or not job.pictures:
            return None
        return job.pictures[min(int(chosen), len(job.pictures) - 1)]

    def job(self, watched: str, request: gr.Request) -> Job | None:
        """The job that is shown."""
        try:
            return self._service.job(watched.partition(" ")[0], owner(request))
        except JobNotFound:
            return None

    def _follow(self, watched: str, request: gr.Request) -> list[Any]:
        job = self.job(watched, request)
        nothing = [gr.skip() for _ in self.outputs]
        if job is None:
            ended = self.show(None, request)
            ended[1] = f'<p class="status failed">{say("error.gone", request)}</p>'
            return ended if watched else nothing
        _, version, shown = watched.split(" ")
        if str(job.version) == version and not job.over:
            return nothing
        if job.over or str(len(job.pictures)) != shown:
            return self.show(job, request)
        changed = {
            self.watched: f"{job.id} {job.version} {shown}",
            self.status: views.status(job, request),
            self.preview: self._stage(job, request),
        }
        return [changed.get(output, gr.skip()) for output in self.outputs]

    def _stage(self, job: Job, request: gr.Request | None) -> Any:
        if job.over:
            return gr.update(value="", visible=False)
        forming = self._service.preview(job.id, job.owner)
        return gr.update(value=views.preview(forming, request), visible=True)

    def _choose(self, event: gr.SelectData, watched: str, request: gr.Request) -> tuple[int, str]:
        path = self.picture(watched, event.index, request)
        return event.index, views.recipe(path) if path is not None else ""

    def _stop(self, watched: str, request: gr.Request) -> None:
        job = self.job(watched, request)
        if job is not None and not job.over:
            self._service.cancel(job.id, owner(request))

    def _skip(self, watched: str, request: gr.Request) -> None:
        job = self.job(watched, request)
        if job is not None and not job.over:
            with suppress(JobStateError):  # it waits, or ended a moment ago
                self._service.skip(job.id, owner(request))
