"""The tab that draws one request with several values of up to three fields, as labelled sheets."""

from __future__ import annotations

import itertools
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from studio.batch.axes import Axis, read_axes
from studio.contact_sheet import ContactSheet
from studio.errors import RequestError, StudioError
from studio.jobs.service import Service
from studio.picture_files import read_picture
from studio.webui.page import views
from studio.webui.page.fields import CONTROLS
from studio.webui.page.flock import Flock, Progress
from studio.webui.page.form import QUIET, Choices, Form, problem
from studio.webui.page.texts import label, say

MOST = 64
"""Pictures of one grid at most."""

_AXES = ("x", "y", "z")
_SEEDS = 2**32
_FIELDS = [name for name in CONTROLS if name not in ("count", "styles")]


class Grid:
    """The tab.

    Args:
        service: takes the jobs.
        choices: what is installed.
        kept: where the browser remembers the grid.
    """

    def __init__(self, service: Service, choices: Choices, kept: gr.BrowserState) -> None:
        self._form = Form(choices)
        with (
            gr.Tab(label("tab.grid"), id="grid", elem_id="tab-grid"),
            gr.Row(elem_classes=["desk"]),
        ):
            with gr.Column(elem_classes=["ask"], min_width=0):
                self._form.add_prompts()
                axes = [self._axis(axis) for axis in _AXES]
                gr.Markdown(label("grid.values_hint"), elem_classes=["hint"])
                problems = gr.HTML("", elem_classes=["problems"])
                go = gr.Button(label("grid.draw"), variant="primary", elem_classes=["go"])
            with gr.Column(elem_classes=["settings"], min_width=0):
                self._form.add("model")
                self._form.add("sampler", "schedule", "steps", "guidance_scale")
                self._form.add_size()
                self._form.add_seed()
            with gr.Column(elem_classes=["job"], min_width=0):
                sheets = gr.Gallery(
                    label=label("grid.result"), visible=False, interactive=False, columns=1,
                    object_fit="contain", height="auto", preview=True, elem_classes=["results"],
                    buttons=["download", "fullscreen"],
                )  # fmt: skip
                gr.Markdown(label("grid.idle"), elem_classes=["idle"])
                self.flock = Flock(service, kept, "grid.cells", _sheets, [sheets])
                self.flock.place()
                stop = gr.Button(label("button.stop"), size="sm", elem_classes=["stop"])
        self._form.connect()
        self._form.open_with(str(self._form.widgets["model"].value))
        self.flock.connect(stop)
        boxes = [box for pair in axes for box in pair]
        go.click(
            self._draw,
            [*boxes, *self._form.inputs],
            [problems, self.flock.kept, *self.flock.outputs],
            **QUIET,
        )

    def _axis(self, axis: str) -> tuple[gr.Dropdown, gr.Textbox]:
        none = [(label("grid.none"), "")]
        fields = [(label(f"field.{name}"), name) for name in _FIELDS]
        with gr.Row(elem_classes=["pair"]):
            return (
                gr.Dropdown([*none, *fields], value="", label=label(f"grid.axis_{axis}")),
                gr.Textbox(label=label("grid.values"), max_lines=1, elem_classes=[f"axis-{axis}"]),
            )

    def _draw(self, request: gr.Request, *values: Any) -> list[Any]:
        nothing = [gr.skip() for _ in self.flock.outputs]
        try:
            axes = _read_axes(values[: 2 * len(_AXES)])
            base = self._form.read(values[2 * len(_AXES) :])
            cells = _cells(base, axes, request)
        except StudioError as error:
            return [problem(error), gr.skip(), *nothing]
        ids, said = self.flock.submit(cells, request)
        if said:
            return [said, gr.skip(), *nothing]
        texts = [[f"{axis.field} {typed}" for typed, _ in axis.values] for axis in axes]
        kept = {"jobs": ids, "axes": texts}
        shown = self.flock.follow(kept, request)
        return ["", kept, shown[0], gr.update(active=True), gr.update(value=[], visible=False)]


def _read_axes(boxes: Sequence[str]) -> list[Axis]:
    """The axes that were chosen, in the order x, y, z.

    Raises:
        RequestError: values that cannot be read; the same field twice.
    """
    chosen = [(boxes[i], boxes[i + 1]) for i in range(0, len(boxes), 2) if boxes[i]]
    axes, problems = read_axes([f"{field}={values}" for field, values in chosen])
    if problems:
        first = problems[0]
        name = first.field or "grid"
        raise RequestError(name, first.value or "", first.reason, valid=first.valid)
    return list(axes)


def _cells(
    base: Mapping[str, object], axes: Sequence[Axis], request: gr.Request
) -> list[dict[str, object]]:
    """The fields of every picture; all have one seed, unless an axis says otherwise."""
    if not axes:
        reason = say("grid.no_axis", request)
        raise RequestError("grid", "", reason, valid="seed and 1..4, say")
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MOST:
        reason = say("grid.too_many", request, n=count, most=MOST)
        raise RequestError("grid", count, reason, valid=f"up to {MOST}")
    fixed = {"seed": secrets.randbelow(_SEEDS), **base}
    names = [axis.field for axis in axes]
    # Sheet by sheet, row by row: the last axis is the slowest.
    products = itertools.product(*([cell.value for _, cell in axis.values] for axis in axes[::-1]))
    return [{**fixed, **dict(zip(names, values[::-1], strict=True))} for values in products]


def _sheets(progress: Progress, kept: Mapping[str, Any], request: gr.Request) -> list[Any]:
    """One labelled sheet per value of the third axis."""
    axes = [list(map(str, axis)) for axis in kept.get("axes", [])]
    columns, rows, layers = (*axes, *([""] for _ in range(3 - len(axes))))[:3]
    first = next((job for job in progress.jobs if job is not None), None)
    if first is None or len(progress.jobs) != len(columns) * len(rows) * len(layers):
        return [gr.update(value=[], visible=False)]
    size = (first.request.width or 512, first.request.height or 512)
    per_sheet = len(columns) * len(rows)
    shown = []
    for number, layer in enumerate(layers):
        sheet = ContactSheet(per_sheet, size, heads=columns, sides=rows if rows != [""] else ())
        for job in progress.jobs[number * per_sheet : (number + 1) * per_sheet]:
            path = job.pictures[0] if job is not None and job.pictures else None
            error = job.error if job is not None else say("error.gone", request)
            sheet.add(read_picture(path) if path else None, "" if path else error)
        shown.append((_written(sheet, number), layer))
    return [gr.update(value=shown, visible=True, selected_index=0)]


def _written(sheet: ContactSheet, number: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"grid-{number + 1}.png"
        path.write_bytes(sheet.png())
        return views.served(path)
