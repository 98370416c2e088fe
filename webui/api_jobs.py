"""The studio's own API, part one: jobs, under ``/api/v1``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import PurePath
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Body, Depends, File, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict

from studio.errors import JobNotFound
from studio.jobs.job import Job, Status
from studio.jobs.service import Service
from studio.pipelines.request import Request as Drawing
from studio.webui import uploads
from studio.webui.waiting import Hub

MIME = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


class JobState(BaseModel):
    """A job as it stands: see :class:`studio.jobs.job.Job`."""

    id: str
    status: Status
    request: dict[str, Any]
    created: float
    started: float | None
    ended: float | None
    progress: float
    step: int
    total: int
    picture: int
    eta_s: float | None
    pictures: list[str]
    skipped: int
    error: str
    position: int | None
    favourite: bool
    version: int

    @classmethod
    def of(cls, job: Job) -> JobState:
        """What is said of a job; its pictures as addresses on this server."""
        same = set(cls.model_fields) - {"request", "pictures"}
        return cls(
            request=job.request.model_dump(),
            pictures=[picture_path(job, number) for number in range(len(job.pictures))],
            **{name: getattr(job, name) for name in same},
        )


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[JobState]


class Move(BaseModel):
    """A new place in the queue."""

    model_config = ConfigDict(extra="forbid", strict=True)
    position: int


class Mark(BaseModel):
    """Whether a job is a favourite."""

    model_config = ConfigDict(extra="forbid", strict=True)
    on: bool


class Kept(BaseModel):
    """An uploaded picture: its reference goes into ``init_image`` or ``mask``."""

    reference: str
    width: int
    height: int


def picture_path(job: Job, number: int) -> str:
    """Where a picture of a job is found on this server, counted from 0."""
    return f"/api/v1/jobs/{job.id}/pictures/{number}"


def owner(request: Request) -> str:
    """Who is asking: the login name, empty where no login is asked for."""
    return str(getattr(request.state, "owner", ""))


Owner = Annotated[str, Depends(owner)]


def router(service: Service, hub: Hub) -> APIRouter:
    """The routes of jobs and inputs."""
    api = APIRouter(prefix="/api/v1", tags=["jobs"])
    whole = {"required": True, "content": {"application/json": {"schema": _schema()}}}

    @api.post("/jobs", status_code=202, openapi_extra={"requestBody": whole})
    async def submit(request: Request, who: Owner) -> JobState:
        """Accepts a job. It is drawn even if the server is killed right after the answer."""
        body = await request.body()
        return await to_thread.run_sync(accepted, body, who)

    def accepted(body: bytes, who: str) -> JobState:
        return JobState.of(service.submit(Drawing.from_json(body), owner=who))

    @api.get("/jobs")
    def find(
        who: Owner,
        text: str = "",
        status: Status | None = None,
        favourites: bool = False,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0, lt=2**53)] = 0,
    ) -> JobList:
        """Your jobs, the newest first; ``text`` is looked for in the prompts."""
        found = service.jobs(
            who, text=text, status=status, favourites=favourites, limit=limit, offset=offset
        )
        return JobList(jobs=[JobState.of(job) for job in found])

    @api.get("/jobs/{id}")
    def state(id: str, who: Owner) -> JobState:
        """One job."""
        return JobState.of(service.job(id, who))

    @api.get(
        "/jobs/{id}/events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def events(id: str, who: Owner) -> StreamingResponse:
        """The job after every change, as server-sent events, until it has ended."""
        await to_thread.run_sync(service.job, id, who)  # 404 before the stream begins
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_stream(hub, id, who), 200, headers, "text/event-stream")

    @api.post("/jobs/{id}/cancel")
    def cancel(id: str, who: Owner) -> JobState:
        """Stops a job; its pictures so far are kept."""
        return JobState.of(service.cancel(id, who))

    @api.post("/jobs/{id}/skip")
    def skip(id: str, who: Owner) -> JobState:
        """Leaves out the picture in hand."""
        return JobState.of(service.skip(id, who))

    @api.post("/jobs/{id}/move")
    def move(id: str, where: Annotated[Move, Body()], who: Owner) -> JobState:
        """Gives a waiting job another place among your waiting jobs, 0 = next."""
        return JobState.of(service.move(id, where.position, who))

    @api.put("/jobs/{id}/favourite")
    def favourite(id: str, mark: Annotated[Mark, Body()], who: Owner) -> JobState:
        """Marks a job, or takes the mark away."""
        return JobState.of(service.favourite(id, mark.on, who))

    @api.delete("/jobs/{id}", status_code=204)
    def delete(id: str, who: Owner) -> None:
        """Removes a job and its pictures for good."""
        service.delete(id, who)

    @api.get(
        "/jobs/{id}/preview",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}, 204: {"description": "none yet"}},
    )
    def preview(id: str, who: Owner) -> Response:
        """The picture in hand as it looks so far. Ask again after the next event."""
        data = service.preview(id, who)
        headers = {"Cache-Control": "no-store"}
        if data is None:
            return Response(None, 204, headers)
        return Response(data, 200, headers, "image/jpeg")

    @api.get("/jobs/{id}/pictures/{number}", response_class=FileResponse)
    def picture(id: str, number: int, who: Owner, download: bool = False) -> FileResponse:
        """A picture, counted from 0, as it was saved: with its recipe in it."""
        pictures = service.job(id, who).pictures
        if not 0 <= number < len(pictures):
            raise JobNotFound(f"The job {id} has no picture {number}.", valid="a picture of its")
        path = pictures[number]
        return FileResponse(
            path,
            media_type=MIME.get(PurePath(path).suffix, "application/octet-stream"),
            filename=path.name,
            content_disposition_type="attachment" if download else "inline",
            headers={"Cache-Control": "private, max-age=31536000, immutable"},
        )

    @api.post("/inputs", status_code=201)
    def upload(file: Annotated[UploadFile, File()], _: Owner) -> Kept:
        """Takes in a picture to start from, or a mask: PNG, JPEG or WebP by content."""
        image = uploads.picture(file.file.read(), "file")
        return Kept(reference=service.inputs.add(image), width=image.width, height=image.height)

    return api


async def _stream(hub: Hub, id: str, who: str) -> AsyncIterator[str]:
    try:
        async for job in hub.follow(id, who):
            if job is None:
                yield ": still there\n\n"
            else:
                data = json.dumps(JobState.of(job).model_dump())
                yield f"event: job\nid: {job.version}\ndata: {data}\n\n"
    except JobNotFound:  # deleted while it was watched
        return


def _schema() -> dict[str, Any]:
    return Drawing.model_json_schema()
