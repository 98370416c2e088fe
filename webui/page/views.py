"""What is shown of a job, as HTML made by the server. Everything that is no mark-up is escaped."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import gradio as gr
from gradio import processing_utils, utils

from studio.errors import StudioError
from studio.jobs.job import Job
from studio.metadata import read_recipe
from studio.webui.page.texts import duration, say


def kind(job: Job) -> str:
    """The tab that a job belongs to."""
    request = job.request
    if request.upscale is not None:
        return "upscale"
    if any((request.extend_left, request.extend_right, request.extend_top, request.extend_bottom)):
        return "outpaint"
    if request.mask is not None:
        return "inpaint"
    return "text_to_image" if request.init_image is None else "image_to_image"


def status_line(job: Job, request: gr.Request | None) -> str:
    """One line that says how far a job is."""
    if job.status == "queued":
        return say("status.queued", request, position=(job.position or 0) + 1)
    if job.status == "failed":
        return say("status.failed", request, error=job.error)
    if job.status == "cancelled":
        count, total = len(job.pictures), job.request.count
        return say("status.cancelled", request, count=count, total=total)
    if job.status == "done":
        seconds = duration((job.ended or 0) - (job.started or job.ended or 0), request)
        key = "status.done_one" if len(job.pictures) == 1 else "status.done"
        return say(key, request, count=len(job.pictures), seconds=seconds)
    if not job.total and not job.picture:
        return say("status.starting", request)
    parts = [say("status.step", request, step=job.step, total=job.total)] if job.total else []
    if job.request.count > 1:
        place = {"picture": job.picture + 1, "count": job.request.count}
        parts.insert(0, say("status.picture", request, **place))
    if job.eta_s is not None:
        left = duration(round(job.eta_s) if job.eta_s > 1 else job.eta_s, request)
        parts.append(say("status.eta", request, eta=left))
    return " · ".join(parts)


def status(job: Job | None, request: gr.Request | None) -> str:
    """The status line, with a bar while the job goes on."""
    if job is None:
        return ""
    line = html.escape(status_line(job, request))
    if job.over:
        return f'<p class="status {job.status}" role="status">{line}</p>'
    label = html.escape(say("status.progress", request), quote=True)
    return (
        f'<p class="status {job.status}">{line}</p>'
        f'<progress aria-label="{label}" max="1" value="{job.progress:.3f}"></progress>'
    )


def preview(picture: bytes | None, request: gr.Request | None) -> str:
    """How the picture forms, or a place that waits for it."""
    text = html.escape(say("panel.preview", request), quote=True)
    if not picture:
        return f'<div class="forming waiting" role="img" aria-label="{text}"></div>'
    data = base64.b64encode(picture).decode()
    return f'<img class="forming" alt="{text}" src="data:image/jpeg;base64,{data}">'


def served(path: Path) -> str:
    """A copy of a picture file that the page may hand out; byte for byte, its recipe in it.

    The folder of the jobs itself is never served.
    """
    return str(processing_utils.save_file_to_cache(path, utils.get_upload_folder()))


def recipe(path: Path) -> str:
    """The recipe of a picture, as text."""
    try:
        return read_recipe(path).parameters()
    except StudioError as error:
        return str(error)
