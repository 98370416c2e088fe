"""Jobs that belong together: the cells of a grid, the rows of a prompt file.

Their ids are kept by the browser, the jobs by the service: closing the page loses neither.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.errors import JobNotFound, StudioError
from studio.jobs.job import Job
from studio.jobs.service import Service
from studio.pipelines.request import Request
from studio.webui.page.form import QUIET, problem
from studio.webui.page.texts import say
from studio.webui.page.visitors import owner

POLL_S = 1.0
"""How often progress is asked for, in seconds."""

_SECRET = "latent-studio"  # keeps the browser's copy readable after a restart; nothing to hide


@dataclass(frozen=True)
class Progress:
    """How far the jobs are.

    Args:
        jobs: those that are still there, in order; ``None`` for one that was deleted.
    """

    jobs: tuple[Job | None, ...]

    @property
    def over(self) -> bool:
        """Whether none goes on."""
        return all(job is None or job.over for job in self.jobs)

    @property
    def done(self) -> int:
        """How many ended well."""
        return sum(job is not None and job.status == "done" for job in self.jobs)

    @property
    def failed(self) -> int:
        """How many ended otherwise, or are gone."""
        return sum(job is None or (job.over and job.status != "done") for job in self.jobs)


def remembered(name: str) -> gr.BrowserState:
    """What the browser remembers under a name. It reads it only outside of closed tabs."""
    return gr.BrowserState({}, storage_key=f"studio-{name}", secret=_SECRET)


class Flock:
    """The widgets that follow the jobs.

    Args:
        service: keeps the jobs.
        kept: where the browser remembers them, see :func:`remembered`.
        line: key of the words of the progress: done, total, failed.
        ended: what to show when the jobs have ended; see :attr:`outputs`.
        outputs: what ``ended`` fills.
    """

    def __init__(
        self,
        service: Service,
        kept: gr.BrowserState,
        line: str,
        ended: Callable[[Progress, Mapping[str, Any], gr.Request], list[Any]],
        outputs: Sequence[Any],
    ) -> None:
        self._service, self._line, self._ended = service, line, ended
        self._outputs = list(outputs)
        self.kept = kept
        self.timer = gr.Timer(POLL_S, active=False)

    def place(self) -> gr.HTML:
        """Puts the progress here."""
        self.progress = gr.HTML("", elem_classes=["job-status", "flock"])
        return self.progress

    def connect(self, stop: gr.Button) -> None:
        """Wires the timer and the button that stops what has not ended."""
        self.timer.tick(self.follow, self.kept, self.outputs, **QUIET)
        stop.click(self._stop, self.kept, None, **QUIET)

    @property
    def outputs(self) -> list[Any]:
        """What :meth:`follow` fills."""
        return [self.progress, self.timer, *self._outputs]

    def submit(
        self, requests: Sequence[Mapping[str, object] | Request], request: gr.Request
    ) -> tuple[list[str], str]:
        """Hands jobs to the service: all of them, or none.

        Returns:
            Their ids, and the problem as HTML, one of them empty.
        """
        who = owner(request)
        ids: list[str] = []
        try:
            for each in requests:
                ids.append(self._service.submit(each, owner=who).id)
        except StudioError as error:
            for id in ids:
                self._service.cancel(id, who)
            return [], problem(error)
        return ids, ""

    def follow(self, kept: Mapping[str, Any] | None, request: gr.Request) -> list[Any]:
        """How far the remembered jobs are, and what came of them once they have ended."""
        ids = (kept or {}).get("jobs") or []
        if not ids:
            return ["", gr.update(active=False), *(gr.skip() for _ in self._outputs)]
        progress = self.look(ids, request)
        shown = (
            self._ended(progress, kept or {}, request)
            if progress.over
            else [gr.skip() for _ in self._outputs]
        )
        return [self._shown(progress, request), gr.update(active=not progress.over), *shown]

    def look(self, ids: Sequence[str], request: gr.Request) -> Progress:
        """The jobs of these ids."""
        who = owner(request)
        found = {job.id: job for job in self._service.jobs(who, limit=4 * len(ids))}
        return Progress(tuple(found.get(id) or self._one(id, who) for id in ids))

    def _one(self, id: str, who: str) -> Job | None:
        try:
            return self._service.job(id, who)
        except JobNotFound:
            return None

    def _shown(self, progress: Progress, request: gr.Request) -> str:
        total = len(progress.jobs)
        counts = {"done": progress.done, "total": total, "failed": progress.failed}
        text = html.escape(say(self._line, request, **counts))
        name = html.escape(say("status.progress", request), quote=True)
        role = ' role="status"' if progress.over else ""
        share = (progress.done + progress.failed) / total
        bar = f'<progress aria-label="{name}" max="1" value="{share:.3f}"></progress>'
        return f'<p class="status"{role}>{text}</p>{"" if progress.over else bar}'

    def _stop(self, kept: Mapping[str, Any] | None, request: gr.Request) -> None:
        for job in self.look((kept or {}).get("jobs") or [], request).jobs:
            if job is not None and not job.over:
                self._service.cancel(job.id, owner(request))
