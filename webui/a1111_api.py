"""The API of AUTOMATIC1111's web UI, for programs that already speak it: ``/sdapi/v1/...``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from anyio import to_thread
from fastapi import APIRouter
from PIL import Image

from studio.errors import JobStateError, RequestError, RunError
from studio.jobs.job import Job
from studio.jobs.service import Service
from studio.metadata import read_recipe
from studio.schedulers import catalogue
from studio.webui import uploads
from studio.webui.a1111_fields import (
    Drawing,
    Enlarging,
    ImageToImage,
    Pictured,
    TextToImage,
    model_name,
)
from studio.webui.api_jobs import Owner
from studio.webui.memory import memory
from studio.webui.recipes import picture_info
from studio.webui.waiting import Hub

_PLAIN = {"lanczos": Image.Resampling.LANCZOS, "nearest": Image.Resampling.NEAREST}
_MOST_PIXELS = 2**26
_OPTIONS = {"CLIP_stop_at_last_layers": 1, "samples_format": "png", "save_to_dirs": False}
_EMPTY: dict[str, Any] = {
    "cmd-flags": {},
    "embeddings": {"loaded": {}, "skipped": {}},
    "face-restorers": [],
    "hypernetworks": [],
    "loras": [],
    "prompt-styles": [],
    "realesrgan-models": [],
    "scripts": {"txt2img": [], "img2img": []},
    "sd-vae": [],
}
"""Lists that programs ask for and that are empty here."""


def router(service: Service, hub: Hub) -> APIRouter:
    """The routes under ``/sdapi/v1``."""
    api = APIRouter(prefix="/sdapi/v1", tags=["a1111"])
    options: dict[str, dict[str, Any]] = {}  # of each owner, until the server ends

    @api.post("/txt2img")
    async def txt2img(wanted: TextToImage, who: Owner) -> dict[str, Any]:
        """Draws pictures, and answers when they are there."""
        return await drawn(wanted, who)

    @api.post("/img2img")
    async def img2img(wanted: ImageToImage, who: Owner) -> dict[str, Any]:
        """Draws a picture anew, the whole of it or under a mask."""
        return await drawn(wanted, who)

    async def drawn(wanted: Drawing, who: str) -> dict[str, Any]:
        def submit() -> Job:
            return service.submit(wanted.fields(service, options.get(who, {})), owner=who)

        job = await hub.ended(await to_thread.run_sync(submit))
        if job.status == "failed":
            raise RunError(job.error)
        return await to_thread.run_sync(_answer, job, wanted)

    @api.get("/progress")
    def progress(who: Owner, skip_current_image: bool = False) -> dict[str, Any]:
        """How far your running job is."""
        running = _running(service, who)
        waiting = len(service.jobs(who, status="queued", limit=500))
        return _progress(service, running, waiting, with_image=not skip_current_image)

    @api.post("/interrupt")
    def interrupt(who: Owner) -> dict[str, Any]:
        """Stops your running job; its pictures so far are answered."""
        if job := _running(service, who):
            service.cancel(job.id, who)
        return {}

    @api.post("/skip")
    def skip(who: Owner) -> dict[str, Any]:
        """Leaves out the picture in hand."""
        if job := _running(service, who):
            try:
                service.skip(job.id, who)
            except JobStateError:  # it has just ended
                return {}
        return {}

    @api.post("/png-info")
    def png_info(body: Pictured) -> dict[str, Any]:
        """The recipe that a picture carries."""
        info = picture_info(uploads.decoded(body.image, "image"), "image")
        return {"info": info.text, "items": info.items, "parameters": info.request}

    @api.post("/extra-single-image")
    async def extra_single_image(wanted: Enlarging, who: Owner) -> dict[str, Any]:
        """Enlarges a picture."""
        for name in ("gfpgan_visibility", "codeformer_visibility", "extras_upscaler_2_visibility"):
            if value := getattr(wanted, name):
                raise RequestError(name, value, "not to be had here", valid="0")
        if wanted.upscaler_1.lower() in ("none", *_PLAIN):
            return {"html_info": "", "image": await to_thread.run_sync(_resized, wanted)}

        def submit() -> Job:
            return service.submit(_enlarging(service, wanted), owner=who)

        job = await hub.ended(await to_thread.run_sync(submit))
        if job.status != "done":
            raise RunError(job.error or "The job was cancelled.")
        data = await to_thread.run_sync(job.pictures[0].read_bytes)
        return {"html_info": "", "image": uploads.in_base64(data)}

    @api.get("/options")
    def get_options(who: Owner) -> dict[str, Any]:
        """Your settings."""
        return {"sd_model_checkpoint": service.default_model, **_OPTIONS, **options.get(who, {})}

    @api.post("/options")
    def set_options(changes: dict[str, Any], who: Owner) -> dict[str, Any]:
        """Changes your settings: the model and the text encoder's layer; others are refused."""
        for name in changes:
            if name not in ("sd_model_checkpoint", *_OPTIONS):
                known = ", ".join(["sd_model_checkpoint", *_OPTIONS])
                raise RequestError(name[:80], changes[name], "unknown here", valid=known)
        if "sd_model_checkpoint" in changes:
            name = model_name(service, str(changes["sd_model_checkpoint"]))
            changes = {**changes, "sd_model_checkpoint": name}
        options[who] = {**options.get(who, {}), **changes}
        return {}

    @api.get("/samplers")
    def samplers() -> list[dict[str, Any]]:
        """The samplers."""
        return [
            {"name": row.name, "aliases": list(row.aliases), "options": {}}
            for row in catalogue.samplers()
        ]

    @api.get("/schedulers")
    def schedulers() -> list[dict[str, Any]]:
        """The spacings of the noise levels."""
        return [
            {"name": row.name, "label": row.name, "aliases": list(row.aliases)}
            | {"default_rho": -1.0, "need_inner_model": False}
            for row in catalogue.schedules()
        ]

    @api.get("/upscalers")
    def upscalers() -> list[dict[str, Any]]:
        """What enlarges pictures."""
        names = ["None", "Lanczos", "Nearest", *(card.name for card in _upscalers(service))]
        empty = {"model_name": None, "model_path": None, "model_url": None}
        return [{"name": name, **empty, "scale": 4} for name in names]

    @api.get("/latent-upscale-modes")
    def latent_upscale_modes() -> list[dict[str, str]]:
        """What enlarges between the two passes of a high-resolution drawing."""
        return [{"name": "Latent"}]

    @api.get("/sd-models")
    def sd_models() -> list[dict[str, Any]]:
        """The models."""
        empty = {"hash": None, "sha256": None, "config": None}
        return [
            {"title": card.name, "model_name": card.name, "filename": card.name, **empty}
            for card in service.models()
        ]

    @api.post("/refresh-checkpoints")
    def refresh_checkpoints() -> dict[str, Any]:
        """Nothing to be done: models are found at the start."""
        return {}

    @api.get("/memory")
    def show_memory() -> dict[str, Any]:
        """Memory of the machine and of the GPU, in bytes."""
        return memory()

    for name, nothing in _EMPTY.items():
        api.get(f"/{name}", name=name)(lambda nothing=nothing: nothing)
    return api


def _running(service: Service, who: str) -> Job | None:
    return next(iter(service.jobs(who, status="running", limit=1)), None)


def _upscalers(service: Service) -> list[Any]:
    return [card for card in service.models() if "upscale" in card.family]


def _answer(job: Job, wanted: Drawing) -> dict[str, Any]:
    texts, requests, images = [], [], []
    for path in job.pictures:
        recipe = read_recipe(path)
        texts.append(recipe.parameters())
        requests.append(recipe.request)
        if wanted.send_images:
            images.append(uploads.in_base64(path.read_bytes()))
    request, count = job.request, len(requests)
    info = {
        "prompt": request.prompt,
        "all_prompts": [request.prompt] * count,
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": [request.negative_prompt] * count,
        "seed": request.seed,
        "all_seeds": [each.seed for each in requests],
        "subseed": -1 if request.variation_seed is None else request.variation_seed,
        "all_subseeds": [each.variation_seed or -1 for each in requests],
        "subseed_strength": request.variation_strength,
        "width": request.width,
        "height": request.height,
        "sampler_name": request.sampler,
        "cfg_scale": request.guidance_scale,
        "steps": request.steps,
        "batch_size": count,
        "sd_model_name": request.model,
        "denoising_strength": request.strength,
        "clip_skip": request.clip_skip,
        "infotexts": texts,
        "job_timestamp": _stamp(job.created),
    }
    pictures = {"init_images", "mask"}  # not sent back
    parameters = wanted.model_dump(exclude=pictures)
    return {"images": images, "parameters": parameters, "info": json.dumps(info)}


def _progress(
    service: Service, job: Job | None, waiting: int, *, with_image: bool
) -> dict[str, Any]:
    preview = service.preview(job.id, job.owner) if job and with_image else None
    state = {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": job.id if job else "",
        "job_count": waiting + (job is not None),
        "job_timestamp": _stamp(job.created) if job else "0",
        "job_no": job.picture if job else 0,
        "sampling_step": job.step if job else 0,
        "sampling_steps": job.total if job else 0,
    }
    return {
        # 0 means to these programs that nothing is drawn.
        "progress": max(0.001, job.progress) if job else 0.0,
        "eta_relative": (job.eta_s or 0.0) if job else 0.0,
        "state": state,
        "current_image": uploads.in_base64(preview) if preview else None,
        "textinfo": None,
    }


def _enlarging(service: Service, wanted: Enlarging) -> dict[str, object]:
    names = [card.name for card in _upscalers(service)]
    if wanted.upscaler_1 not in names:
        valid = ", ".join(["None", "Lanczos", "Nearest", *names])
        raise RequestError("upscaler_1", wanted.upscaler_1, "unknown here", valid=valid)
    if wanted.resize_mode != 0 or wanted.upscaling_resize not in (1, 2, 3, 4):
        shown = wanted.upscaling_resize
        raise RequestError("upscaling_resize", shown, "not to be had here", valid="1, 2, 3 or 4")
    data = uploads.decoded(wanted.image, "image")
    return {
        "prompt": "",
        "model": wanted.upscaler_1,
        "init_image": uploads.kept(service.inputs, data, "image"),
        "upscale": int(wanted.upscaling_resize),
    }


def _resized(wanted: Enlarging) -> str:
    """Without a model: the picture enlarged by interpolation, as PNG in base64."""
    image = uploads.picture(uploads.decoded(wanted.image, "image"), "image")
    if wanted.resize_mode == 0:
        size = tuple(max(1, round(edge * wanted.upscaling_resize)) for edge in image.size)
    else:
        size = (wanted.upscaling_resize_w, wanted.upscaling_resize_h)
    if min(size) < 1 or size[0] * size[1] > _MOST_PIXELS:
        shown = f"{size[0]}x{size[1]}"
        raise RequestError("upscaling_resize", shown, "too large or too small", valid="1 to 4")
    kind = _PLAIN.get(wanted.upscaler_1.lower(), Image.Resampling.LANCZOS)
    return uploads.in_base64(uploads.png(image.resize((size[0], size[1]), kind)))


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S")
