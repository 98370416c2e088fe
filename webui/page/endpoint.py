"""The page's door for programs: ``gradio_client`` calls ``/generate``."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr

from studio.errors import StudioError
from studio.jobs.service import Service
from studio.webui.page import views
from studio.webui.page.visitors import owner

_POLL_S = 10.0


def add(service: Service) -> None:
    """Adds the one endpoint that is named: from a prompt to the files of its pictures."""

    def generate(
        prompt: str, fields: Mapping[str, object] | None, request: gr.Request
    ) -> list[str]:
        """Draws pictures and returns their files, once all are there.

        Args:
            prompt: what to draw.
            fields: other fields of the request, as in the HTTP API.
            request: whose job it is.
        """
        who = owner(request)
        try:
            job = service.submit({**(fields or {}), "prompt": prompt}, owner=who)
            while not job.over:
                job = service.wait(job.id, job.version, _POLL_S, who)
        except StudioError as error:
            raise gr.Error(str(error)) from None
        if job.status != "done":
            raise gr.Error(job.error or job.status)
        return [views.served(picture) for picture in job.pictures]

    gr.Button(visible=False).click(
        generate,
        [gr.Textbox(visible=False, label="prompt"), gr.JSON(visible=False, label="fields")],
        gr.Files(visible=False, label="pictures"),
        api_name="generate",
        concurrency_limit=32,
    )
