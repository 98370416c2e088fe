"""Super-resolution in latent space: the U-Net sees the small picture beside the latents.

As Stable Diffusion's x4 upscaler: latents have the sides of the small picture, which is noised to
a level that the U-Net is told (Ho et al. 2022, Cascaded Diffusion Models), so that more noise lets
it invent more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from diffusers import DDPMScheduler
from PIL import Image
from torch import Tensor

from studio.errors import RequestError
from studio.pipelines import noise, runner, stages
from studio.pipelines.components import Components
from studio.pipelines.fitting import opaque
from studio.pipelines.inputs import Sources
from studio.pipelines.request import Request
from studio.pipelines.runner import Result
from studio.pipelines.stages import Start, Step
from studio.pipelines.tiling import over_tiles
from studio.pipelines.vae_tiling import shared_statistics
from studio.schedulers.stepping import Scheduler

_EDGE, _OVERLAP = 256, 64  # latents: what is larger is denoised in tiles
_LARGEST = 4096  # pixels along an edge of what the model draws


def super_resolution(
    components: Components,
    requests: Sequence[Request],
    sources: Sources,
    *,
    on_step: Callable[[Step], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    batch_size: int | None = None,
) -> Iterator[Result]:
    """Draws the init image ``upscale`` times as large, once per request, in order.

    Args:
        components: an upscaler; ``card.scale`` is how many times it enlarges. Other factors are
            what it draws, resampled by Lanczos.
        requests: as for :func:`runner.run`, with ``upscale`` and ``noise_level``.
        sources: the init image; what is transparent in it shows white.
        on_step: as for :func:`runner.run`.
        cancel: likewise.
        batch_size: likewise.

    Raises:
        RequestError: at the call: the requests differ, are not resolved, ask for more noise than
            the model knows, or the picture is too large.
        RunError: while drawing, see :func:`runner.run`.
    """
    if not requests:
        return iter(())
    first = requests[0]
    components.card.check(first)
    assert sources.init_image is not None
    task = _Enlarging(components, opaque(sources.init_image), first)
    task.check()
    seeing = replace(components, unet=_TiledUNet(components.unet, first.noise_level or 0))
    width, height = task.size
    sized = [r.model_copy(update={"width": width, "height": height}) for r in requests]
    results = runner.run(seeing, sized, task, on_step=on_step, cancel=cancel, batch_size=batch_size)
    return (replace(r, request=asked) for r, asked in zip(results, requests, strict=False))


@dataclass(frozen=True, eq=False)
class _Enlarging:
    """The task of :mod:`runner`; equal to diffusers' StableDiffusionUpscalePipeline."""

    components: Components
    small: Image.Image
    request: Request

    def check(self) -> None:
        level, most = self.request.noise_level or 0, self.components.max_noise_level
        if level > most:
            raise RequestError(
                "noise_level",
                level,
                f"is more than the model {self.components.name} knows",
                valid=f"an integer from 0 to {most}",
            )
        if max(self.size) > _LARGEST:
            raise RequestError(
                "init_image",
                f"{self.small.width} x {self.small.height}",
                f"is too large to enlarge {self.components.card.scale} times",
                valid=f"at most {_LARGEST // self.components.card.scale} pixels along an edge",
            )

    @property
    def size(self) -> tuple[int, int]:
        scale = self.components.card.scale
        return self.small.width * scale, self.small.height * scale

    def start(
        self,
        requests: Sequence[Request],
        scheduler: Scheduler,
        generators: Sequence[torch.Generator],
    ) -> Start:
        small = stages.to_tensor(self.small)
        device = self.components.runtime.device
        low_res: Any = DDPMScheduler
        schedule = low_res.from_config(self.components.low_res_scheduler_config)
        level = torch.tensor([self.request.noise_level or 0])
        grain = noise.standard_normal(generators, small.shape[1:])
        seen = schedule.add_noise(small.expand_as(grain), grain, level)
        # One field of noise for the whole picture: a tile sees its part.
        unit = stages.first_noise(requests, self.components.latent_shape(*self.size), generators)
        start = Start.from_noise(unit.to(device), scheduler)
        return replace(start, extra_channels=seen.to(device))

    def finish(self, image: Image.Image) -> Image.Image:
        times = self.request.upscale or self.components.card.scale
        size = self.small.width * times, self.small.height * times
        return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


@dataclass(frozen=True, eq=False)
class _TiledUNet:
    """A U-Net that is told the noise level, and sees large pictures in overlapping tiles.

    Predictions of tiles are blended at every step (Bar-Tal et al. 2023, MultiDiffusion), so that
    neighbours go on from the same latents.
    """

    unet: Any
    level: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unet, name)

    def __call__(self, x: Tensor, t: Tensor, **options: Any) -> tuple[Tensor]:
        labels = torch.full((len(x),), self.level, device=x.device)

        def run(tile: Tensor) -> Tensor:
            output: Tensor = self.unet(tile, t, class_labels=labels, **options)[0]
            return output

        if max(x.shape[-2:]) <= _EDGE:
            return (run(x),)
        over = partial(over_tiles, run, x, edge=_EDGE, overlap=_OVERLAP, scale=1)
        with shared_statistics(self.unet, over):
            return (over().to(x),)
