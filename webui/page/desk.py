"""A tab that draws: what to draw, the button, the settings, and beside them the job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from studio.errors import StudioError
from studio.jobs.job import Job
from studio.jobs.service import Service
from studio.webui.page.form import QUIET, Choices, Form, problem
from studio.webui.page.panel import REMEMBER, Panel
from studio.webui.page.texts import label
from studio.webui.page.visitors import owner

TARGETS = ("image_to_image", "inpaint", "outpaint", "upscale")
"""Tabs that take a picture."""

Reader = Callable[[Sequence[Any], gr.Request], Mapping[str, object]]
"""Fields of a request out of what a tab's own widgets hold (pictures, masks)."""


class Desk:
    """What the drawing tabs have in common. A tab fills it in the order of its ``with`` blocks.

    Args:
        service: takes the jobs.
        choices: what is installed.
        kind: the tab's name, a key under ``tab.`` in the texts.
        button: key of the word on the button.
    """

    def __init__(
        self, service: Service, choices: Choices, kind: str, *, button: str = "button.draw"
    ) -> None:
        self.service, self.kind = service, kind
        self.form = Form(choices, upscaling=kind == "upscale", pictured=kind != "text_to_image")
        self.own: list[Component] = []
        self._button = button
        self._reuse: tuple[gr.Button, Component] | None = None
        self._tab: gr.Tab | None = None

    @contextmanager
    def tab(self) -> Iterator[None]:
        """The tab itself; its columns are :meth:`ask`, :meth:`settings`, then the job."""
        with (
            gr.Tab(label(f"tab.{self.kind}"), id=self.kind, elem_id=f"tab-{self.kind}"),
            gr.Row(elem_classes=["desk"]),
        ):
            yield
            with gr.Column(elem_classes=["job"], min_width=0):
                others = [target for target in TARGETS if target != self.kind]
                self.panel = Panel(self.service, self.kind, others)

    @contextmanager
    def ask(self, able: bool = True) -> Iterator[None]:
        """The column of the prompts; the button ends it, dead unless ``able``."""
        with gr.Column(elem_classes=["ask"], min_width=0):
            yield
            self.problem = gr.HTML("", elem_classes=["problems"])
            self.go = gr.Button(
                label(self._button), variant="primary", interactive=able, elem_classes=["go"]
            )

    @contextmanager
    def settings(self) -> Iterator[None]:
        """The column of everything else."""
        with gr.Column(elem_classes=["settings"], min_width=0):
            yield

    def add_seed(self) -> None:
        """The seed with its buttons."""
        self._reuse = self.form.add_seed()

    def connect(self, read_own: Reader | None = None) -> None:
        """Wires the button. Call it last, within the page.

        Args:
            read_own: turns the values of :attr:`own` into fields.
        """
        panel, form = self.panel, self.form
        form.connect()
        form.open_with(str(form.widgets["model"].value))

        def draw(request: gr.Request, *values: Any) -> list[Any]:
            own, rest = values[: len(self.own)], values[len(self.own) :]
            try:
                fields = {**form.read(rest), **(read_own(own, request) if read_own else {})}
                job = self.service.submit(fields, owner=owner(request))
            except StudioError as error:
                return [problem(error), *(gr.skip() for _ in panel.outputs)]
            return ["", *panel.show(job, request)]

        self.go.click(
            draw,
            [*self.own, *form.inputs],
            [self.problem, *panel.outputs],
            **QUIET,
        ).then(None, panel.watched, None, js=REMEMBER, queue=False, api_visibility="private")
        if self._reuse is not None:
            button, seed = self._reuse
            button.click(self._last_seed, panel.watched, seed, **QUIET)

    def fill(self, given: Mapping[str, object] | Job) -> list[Any]:
        """What makes the form show a request."""
        return self.form.updates(given.request if isinstance(given, Job) else given)

    def resume(self, request: gr.Request) -> list[Any]:
        """What the tab shows when the page opens: a job of its kind, and the form it came from."""
        job = self.panel.found(request)
        return [gr.skip() for _ in self.resumed] if job is None else self.take_up(job, request)

    def take_up(self, job: Job, request: gr.Request) -> list[Any]:
        """What makes the tab show a job and the form that it came from."""
        return [*self.panel.show(job, request), *self.fill(job), *self.taken(job)]

    @property
    def resumed(self) -> list[Any]:
        """What :meth:`resume` fills."""
        return [*self.panel.outputs, *self.form.inputs, *self.own]

    def taken(self, job: Job) -> list[Any]:
        """What makes :attr:`own` show the pictures of a job."""
        if not self.own:
            return []
        reference = job.request.init_image
        try:
            picture = self.service.inputs.get(reference) if reference else None
        except StudioError:
            picture = None
        return [self.received(picture), *(gr.skip() for _ in self.own[1:])]

    def received(self, picture: Any) -> Any:
        """What makes the first of :attr:`own` show a picture (a path or an image)."""
        return gr.update(value=str(picture) if isinstance(picture, Path) else picture)

    def _last_seed(self, watched: str, request: gr.Request) -> Any:
        job = self.panel.job(watched, request)
        return gr.skip() if job is None else str(job.request.seed)
