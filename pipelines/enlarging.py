"""From a small picture to the latents of a large one, between the two drawings of hires fix."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from studio.pipelines import stages
from studio.pipelines.components import Components
from studio.pipelines.inputs import Sources
from studio.pipelines.request import Request
from studio.pipelines.runner import Result
from studio.pipelines.upscaling import lanczos

Draw = Callable[..., Iterator[Result]]
Size = tuple[int, int]


def enlarger(
    components: Components, request: Request, size: Size, draw: Draw
) -> Callable[[Result], Tensor]:
    """What makes latents [1, C, h, w] of a drawn picture.

    Args:
        components: the model that draws.
        request: says how (``hires_upscaler``), and whether the picture wraps around.
        size: (width, height) of the large picture.
        draw: draws requests with components from sources, as ``drawing.draw`` does.

    Raises:
        ModelError: the upscaler is not there.
    """
    name, wrap = request.hires_upscaler, request.seamless
    if name == "latent":
        height, width = components.latent_shape(*size)[1:]
        return lambda small: bilinear(_latents(components, small), (height, width), wrap=wrap)
    if name == "lanczos":
        return lambda small: _seen(components, lanczos(small.image, size, wrap=wrap))
    upscaler = components.other(name)
    times = min(4, math.ceil(request.hires_scale))
    ask = partial(Request.of, model=name, init_image="the small picture", upscale=times)

    def enlarge(small: Result) -> Tensor:
        asked = ask(prompt=request.prompt, seed=small.request.seed, seamless=wrap)
        (single,) = asked.resolve(upscaler.card.defaults).singles()
        large = next(draw(upscaler, [single], Sources(small.image))).image
        return _seen(components, lanczos(large, size, wrap=wrap))

    return enlarge


def bilinear(latents: Tensor, size: Size, *, wrap: bool = False) -> Tensor:
    """Latents [B, C, h, w] resampled to (height, width), around the edges where they ``wrap``."""
    if not wrap:
        return functional.interpolate(latents, size, mode="bilinear")
    beyond = functional.pad(latents, (1, 1, 1, 1), mode="circular")
    places = []
    for old, new in zip(latents.shape[-2:], size, strict=True):
        middle = (torch.arange(new, device=latents.device) + 0.5) * old / new
        places.append((middle + 1) / (old + 2) * 2 - 1)  # grid_sample's coordinates
    down, across = torch.meshgrid(*places, indexing="ij")
    grid = torch.stack([across, down], dim=-1).expand(len(latents), -1, -1, -1)
    return functional.grid_sample(beyond, grid, mode="bilinear", align_corners=False)


def _latents(components: Components, small: Result) -> Tensor:
    if small.latents is not None and small.latents.isfinite().all():
        return small.latents
    return _seen(components, small.image)  # they were drawn again in fp32


def _seen(components: Components, image: Image.Image) -> Tensor:
    return stages.posterior(components.vae, stages.to_tensor(image)).mean
