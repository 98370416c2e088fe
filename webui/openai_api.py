"""The images API of OpenAI, for programs that already speak it: ``/v1/images/...``.

Drawing, sizes and models are the studio's own; see ``docs/web.md`` for what is mapped to what.
"""

from __future__ import annotations

import math
import re
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, File, Form, Request, UploadFile
from pydantic import BaseModel

from studio.errors import RequestError, RunError
from studio.jobs.job import Job
from studio.jobs.service import Service
from studio.pipelines.components import ModelCard
from studio.webui import uploads
from studio.webui.api_jobs import Owner, picture_path
from studio.webui.waiting import Hub

_THEIRS = re.compile(r"(dall-e|gpt-image|chatgpt-image)[\w.-]*")
"""Models of OpenAI's; programs that name one get the studio's own."""
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_SHAPES = frozenset(
    {
        (256, 256),
        (512, 512),
        (1024, 1024),
        (1536, 1024),
        (1024, 1536),
        (1792, 1024),
        (1024, 1792),
    }
)
"""Sizes of OpenAI's models. Ours draw best at an area of their own, so only the shape is taken."""
_MOST = 10
_STEP = 64


class Wanted(BaseModel):
    """The body of ``/v1/images/generations``. Other fields are passed over."""

    prompt: str
    model: str | None = None
    n: int | None = None
    size: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    stream: bool | None = None


class Image(BaseModel):
    """One picture, by address or in base64."""

    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None


class Images(BaseModel):
    """The answer."""

    created: int
    data: list[Image]
    output_format: str = "png"
    size: str


def router(service: Service, hub: Hub) -> APIRouter:
    """The routes under ``/v1``."""
    api = APIRouter(prefix="/v1", tags=["openai"])

    @api.get("/models")
    def models() -> dict[str, Any]:
        """The models that can be named."""
        return {"object": "list", "data": [_model(card) for card in service.models()]}

    @api.get("/models/{name}")
    def model(name: str) -> dict[str, Any]:
        """One of them."""
        return _model(_card(service, name))

    @api.post("/images/generations", response_model_exclude_none=True)
    async def generations(wanted: Wanted, request: Request, who: Owner) -> Images:
        """Draws pictures, and answers when they are there."""
        return await drawn(wanted, {}, request, who)

    @api.post("/images/edits", response_model_exclude_none=True)
    async def edits(
        request: Request,
        who: Owner,
        prompt: Annotated[str, Form()],
        image: Annotated[list[UploadFile] | None, File()] = None,
        images: Annotated[list[UploadFile] | None, File(alias="image[]")] = None,
        mask: Annotated[UploadFile | None, File()] = None,
        model: Annotated[str | None, Form()] = None,
        n: Annotated[int | None, Form()] = None,
        size: Annotated[str | None, Form()] = None,
        response_format: Annotated[Literal["url", "b64_json"] | None, Form()] = None,
        stream: Annotated[bool | None, Form()] = None,
    ) -> Images:
        """Draws a picture anew, or the places where the mask is transparent."""
        given = [*(image or []), *(images or [])]
        if len(given) != 1:
            raise RequestError("image", f"{len(given)} pictures", "not one", valid="one picture")
        wanted = Wanted(
            prompt=prompt,
            model=model,
            n=n,
            size=size,
            response_format=response_format,
            stream=stream,
        )
        data, mask_data = await given[0].read(), await mask.read() if mask else None
        sources = await to_thread.run_sync(_sources, service, data, mask_data)
        return await drawn(wanted, sources, request, who)

    async def drawn(
        wanted: Wanted, sources: dict[str, object], request: Request, who: str
    ) -> Images:
        fields = _fields(service, wanted) | sources

        def submit() -> Job:
            return service.submit(fields, owner=who)

        job = await hub.ended(await to_thread.run_sync(submit))
        if job.status != "done":
            raise RunError(job.error or "The job was cancelled.")
        in_json = wanted.response_format == "b64_json" or (
            wanted.response_format is None and "image" in (wanted.model or "")
        )
        if in_json:
            pictures = await to_thread.run_sync(_encoded, job.pictures)
        else:
            base = str(request.base_url).rstrip("/")
            pictures = [Image(url=base + picture_path(job, i)) for i in range(len(job.pictures))]
        size = f"{job.request.width}x{job.request.height}"
        return Images(created=int(job.created), data=pictures, size=size)

    return api


def _fields(service: Service, wanted: Wanted) -> dict[str, object]:
    if wanted.stream:
        raise RequestError("stream", True, "pictures are not streamed", valid="false")
    count = 1 if wanted.n is None else wanted.n
    if not 1 <= count <= _MOST:
        raise RequestError("n", count, "out of range", valid=f"an integer from 1 to {_MOST}")
    card = _card(service, wanted.model)
    fields: dict[str, object] = {"prompt": wanted.prompt, "model": card.name, "count": count}
    return fields | _size(wanted.size, card)


def _card(service: Service, name: str | None) -> ModelCard:
    if name is None or _THEIRS.fullmatch(name):
        name = service.default_model
    names = [card.name for card in service.models()]
    for card in service.models():
        if card.name == name:
            return card
    raise RequestError("model", name, "unknown here", valid=", ".join(names))


def _size(size: str | None, card: ModelCard) -> dict[str, object]:
    if size is None or size == "auto":
        return {}
    found = _SIZE.fullmatch(size)
    if found is None:
        raise RequestError("size", size, "not a size", valid="auto, or width x height: 512x512")
    width, height = int(found[1]), int(found[2])
    if (width, height) not in _SHAPES:
        return {"width": width, "height": height}
    scale = math.sqrt(card.defaults.width * card.defaults.height / (width * height))
    step = min(_STEP, card.defaults.width // 4)
    near = (max(step, round(edge * scale / step) * step) for edge in (width, height))
    return dict(zip(("width", "height"), near, strict=True))


def _sources(service: Service, image: bytes, mask: bytes | None) -> dict[str, object]:
    picture = uploads.picture(image, "image")
    fields: dict[str, object] = {"init_image": service.inputs.add(picture)}
    if mask is not None:
        hole = uploads.picture(mask, "mask")
        if hole.mode != "RGBA":
            raise RequestError("mask", hole.mode, "has no transparency", valid="a PNG with alpha")
        drawn = hole.getchannel("A").point(lambda alpha: 255 - alpha)
        fields["mask"] = service.inputs.add(drawn)
    elif picture.mode == "RGBA":
        fields["mask"] = "alpha"
    return fields


def _encoded(paths: tuple[Path, ...]) -> list[Image]:
    return [Image(b64_json=uploads.in_base64(path.read_bytes())) for path in paths]


def _model(card: ModelCard) -> dict[str, Any]:
    return {"id": card.name, "object": "model", "created": int(time.time()), "owned_by": "studio"}
