"""The tab that draws a whole prompt file: problems by line, plan, progress, zip."""

from __future__ import annotations

import html
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from studio.batch.rows import Problem, Sheet, read
from studio.errors import PictureError
from studio.inputs import Inputs
from studio.jobs.service import Service
from studio.webui.page import views
from studio.webui.page.flock import Flock, Progress
from studio.webui.page.form import QUIET
from studio.webui.page.texts import duration, label, say

_MOST_SHOWN = 100  # problems, and pictures of the gallery
_COLUMNS = ("line", "column", "field", "reason", "valid")


class _NoFiles(Inputs):
    """Takes in no file: a prompt file from outside must not open those of the server."""

    def add(self, source: str | Path | Image.Image) -> str:  # noqa: ARG002
        raise PictureError(
            "Pictures of the server cannot be named here.", valid="a file drawn by studio batch"
        )


class PromptFile:
    """The tab.

    Args:
        service: takes the jobs.
        kept: where the browser remembers the file's jobs.
    """

    def __init__(self, service: Service, kept: gr.BrowserState) -> None:
        self._service = service
        with (
            gr.Tab(label("tab.prompt_file"), id="prompt_file", elem_id="tab-prompt_file"),
            gr.Row(elem_classes=["desk", "two"]),
        ):
            with gr.Column(elem_classes=["ask"], min_width=0):
                gr.Markdown(label("file.hint"), elem_classes=["hint"])
                file = gr.File(
                    label=label("file.upload"), type="filepath", height=160, elem_classes=["drop"],
                    file_types=[".txt", ".csv", ".tsv", ".jsonl", ".ndjson"],
                )  # fmt: skip
                go = gr.Button(
                    label("button.run"), variant="primary", interactive=False, elem_classes=["go"]
                )
                checked = gr.HTML("", elem_classes=["sheet", "checked"])
            with gr.Column(elem_classes=["job"], min_width=0):
                pictures = gr.Gallery(
                    label=label("panel.results"), visible=False, interactive=False, columns=4,
                    object_fit="cover", height="auto", elem_classes=["results"],
                    buttons=["download", "fullscreen"],
                )  # fmt: skip
                pack = gr.Button(label("button.zip"), visible=False, elem_classes=["pack"])
                gr.Markdown(label("file.idle"), elem_classes=["idle"])
                self.flock = Flock(service, kept, "file.progress", self._ended, [pictures, pack])
                self.flock.place()
                stop = gr.Button(label("button.stop"), size="sm", elem_classes=["stop"])
                packed = gr.File(
                    label=label("file.zip"), interactive=False, visible=False, elem_classes=["zip"]
                )
        self.flock.connect(stop)
        file.change(self._check, file, [checked, go], **QUIET)
        go.click(self._draw, file, [checked, self.flock.kept, packed, *self.flock.outputs], **QUIET)
        pack.click(self._pack, self.flock.kept, packed, show_progress="minimal", queue=True)

    def _sheet(self, path: str) -> Sheet:
        base = {"model": self._service.default_model}
        return read(Path(path), base=base, inputs=_NoFiles())

    def _check(self, path: str | None, request: gr.Request) -> list[Any]:
        if not path:
            return ["", gr.update(interactive=False)]
        sheet = self._sheet(path)
        fine = not sheet.problems and bool(sheet.rows)
        return [self._said(sheet, request), gr.update(interactive=fine)]

    def _draw(self, path: str | None, request: gr.Request) -> list[Any]:
        nothing = [gr.skip() for _ in self.flock.outputs]
        sheet = self._sheet(path) if path else None
        if sheet is None or sheet.problems:
            return [gr.skip(), gr.skip(), gr.skip(), *nothing]
        ids, said = self.flock.submit([row.request for row in sheet.rows], request)
        if said:
            return [said, gr.skip(), gr.skip(), *nothing]
        kept = {"jobs": ids}
        shown = self.flock.follow(kept, request)
        hidden = gr.update(visible=False)
        return [
            gr.skip(), kept, gr.update(value=None, visible=False), shown[0],
            gr.update(active=True), gr.update(value=[], visible=False), hidden,
        ]  # fmt: skip

    def _said(self, sheet: Sheet, request: gr.Request) -> str:
        warnings = "".join(f"<li>{html.escape(str(each))}</li>" for each in sheet.warnings[:20])
        warned = f"<ul>{warnings}</ul>" if warnings else ""
        if not sheet.problems:
            pictures = sum(row.request.count for row in sheet.rows)
            said = say("file.fine", request, rows=len(sheet.rows), pictures=pictures)
            each = self._seconds_each()
            if each is not None:
                time = duration(each * pictures, request)
                said += " " + say("file.time", request, time=time)
            return f'<p class="fine" role="status">{html.escape(said)}</p>{warned}'
        heads = "".join(
            f'<th scope="col">{html.escape(say(f"file.{name}", request))}</th>' for name in _COLUMNS
        )
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{html.escape(str(getattr(each, name) or ''))}</td>" for name in _COLUMNS
            )
            + "</tr>"
            for each in sheet.problems[:_MOST_SHOWN]
        )
        said = html.escape(say("file.problems", request, n=len(sheet.problems)))
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        return (
            f'<p class="problem" role="alert">{said}</p><div class="scroll">{table}</div>{warned}'
        )

    def _seconds_each(self) -> float | None:
        """What a picture took lately."""
        jobs = self._service.jobs(status="done", limit=5)
        times = [(job.ended or 0) - job.started for job in jobs if job.started and job.pictures]
        counts = [len(job.pictures) for job in jobs if job.started and job.pictures]
        return sum(times) / sum(counts) if counts else None

    def _ended(self, progress: Progress, kept: Mapping[str, Any], request: gr.Request) -> list[Any]:
        del kept, request
        paths = _pictures(progress)
        shown = [views.served(path) for path in paths[:_MOST_SHOWN]]
        return [gr.update(value=shown, visible=bool(shown)), gr.update(visible=bool(paths))]

    def _pack(self, kept: Mapping[str, Any] | None, request: gr.Request) -> Any:
        paths = _pictures(self.flock.look((kept or {}).get("jobs") or [], request))
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "pictures.zip"
            with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as bundle:
                for number, path in enumerate(paths, 1):
                    bundle.write(path, f"{number:05d}_{path.name.partition('_')[2] or path.name}")
            return gr.update(value=views.served(target), visible=True)


def _cells(found: Problem) -> str:
    values = (getattr(found, name) or "" for name in _COLUMNS)
    return "".join(f"<td>{html.escape(str(value))}</td>" for value in values)


def _pictures(progress: Progress) -> list[Path]:
    return [path for job in progress.jobs if job is not None for path in job.pictures]
