"""The one place that chooses the pipeline of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from studio.pipelines import seamless
from studio.pipelines.cards import ENLARGING, UPSCALER, X2_UPSCALER
from studio.pipelines.components import Components
from studio.pipelines.control import with_control
from studio.pipelines.hires import hires
from studio.pipelines.image_to_image import image_to_image
from studio.pipelines.inpainting import inpainting
from studio.pipelines.inputs import Sources
from studio.pipelines.ip_adapter import with_image_prompt
from studio.pipelines.request import Request
from studio.pipelines.super_resolution import super_resolution
from studio.pipelines.text_to_image import Result, Step, text_to_image
from studio.pipelines.upscaling import upscale

__all__ = ["Result", "Step", "draw"]


def draw(
    components: Components,
    requests: Sequence[Request],
    sources: Sources,
    *,
    on_step: Callable[[Step], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    batch_size: int | None = None,
) -> Iterator[Result]:
    """Draws one picture per request, in order, with the pipeline that they ask for.

    Args:
        components: the loaded model.
        requests: resolved, ``count`` 1 (see ``Request.singles``), alike but for prompts and seeds.
        sources: the pictures that the requests start from.
        on_step: called after each step of each batch.
        cancel: asked before each step and each decode.
        batch_size: images that share a U-Net call; None means what suits the device.

    Raises:
        RequestError: the requests differ in more than prompts and seeds.
        ModelError: the ControlNet or the IP-Adapter does not fit the model.
        Cancelled: ``cancel`` answered yes.
        RunError: memory or numbers failed beyond recovery.
    """
    if not requests:
        return iter(())
    components = with_control(components, requests[0], sources)
    components = with_image_prompt(components, requests[0], sources)
    options: dict[str, Any] = {"on_step": on_step, "cancel": cancel, "batch_size": batch_size}
    results = _results(components, requests, sources, options)
    return _wrapping(results, components) if requests[0].seamless else results


def _results(
    components: Components,
    requests: Sequence[Request],
    sources: Sources,
    options: dict[str, Any],
) -> Iterator[Result]:
    first = requests[0]
    if first.hires_scale > 1:
        return hires(components, requests, draw, **options)
    if sources.init_image is None:
        return text_to_image(components, requests, **options)
    sides = first.extend_left, first.extend_right, first.extend_top, first.extend_bottom
    repaints = sources.mask is not None or any(sides)
    pipeline: Callable[..., Iterator[Result]] = inpainting if repaints else image_to_image
    if components.family in (UPSCALER, X2_UPSCALER):
        pipeline = super_resolution
    elif components.family in ENLARGING:
        pipeline = upscale
        options.pop("batch_size")
    results = pipeline(components, requests, sources, **options)
    return (replace(r, recovery=(*sources.notices, *r.recovery)) for r in results)


def _wrapping(results: Iterator[Result], components: Components) -> Iterator[Result]:
    """Draws each result seamless; the model is as ever while the caller has it."""
    parts = [components, *([components.refiner] if components.refiner else [])]
    models = [model for part in parts for model in (part.unet, part.vae) if model is not None]
    models += [components.control.net] if components.control else []
    while True:
        with seamless.circular(*models):
            result = next(results, None)
        if result is None:
            return
        yield result
