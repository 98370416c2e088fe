"""Super-resolution in latent space: the U-Net sees the small picture beside the latents.

As Stable Diffusion's x4 upscaler: latents have the sides of the small picture, which is noised to
a level that the U-Net is told (Ho et al. 2022, Cascaded Diffusion Models), so that more noise lets
it invent more. Stable Diffusion's x2 upscaler sees the small picture's latents instead
(:mod:`studio.pipelines.preconditioning`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDPMScheduler
from PIL import Image
from torch import Tensor

from studio.errors import RequestError
from studio.pipelines import noise, preconditioning, runner, stages
from studio.pipelines.cards import X2_UPSCALER
from studio.pipelines.components import Components
from studio.pipelines.fitting import cut, opaque
from studio.pipelines.inputs import Sources
from studio.pipelines.request import Request
from studio.pipelines.runner import Result
from studio.pipelines.stages import Start, Step
from studio.pipelines.tiled_unet import TiledUNet
from studio.schedulers.stepping import Scheduler

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
        components: an upscaler; ``card.times`` is how many times it enlarges. Other factors are
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
    level: int | None = first.noise_level or 0
    unet = components.unet
    if components.family == X2_UPSCALER:
        task = _EnlargingLatents(components, task.small, first)
        unet, level = preconditioning.Preconditioned.of(unet, components.scheduler_config), None
    seeing = replace(components, unet=TiledUNet(unet, level))
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
                valid=f"an integer from 0 to {most}" if most else "0",
            )
        if max(self.size) > _LARGEST:
            raise RequestError(
                "init_image",
                f"{self.small.width} x {self.small.height}",
                f"is too large to enlarge {self.components.card.times} times",
                valid=f"at most {_LARGEST // self.components.card.times} pixels along an edge",
            )

    @property
    def size(self) -> tuple[int, int]:
        times = self.components.card.times
        return self.small.width * times, self.small.height * times

    def start(
        self,
        requests: Sequence[Request],
        scheduler: Scheduler,
        generators: Sequence[torch.Generator],
    ) -> Start:
        seen = self.seen(generators)
        # One field of noise for the whole picture: a tile sees its part.
        unit = stages.first_noise(requests, self.components.latent_shape(*self.size), generators)
        device = self.components.runtime.device
        start = Start.from_noise(unit.to(device), scheduler)
        return replace(start, extra_channels=seen.to(device))

    def seen(self, generators: Sequence[torch.Generator]) -> Tensor:
        """What the U-Net sees of the small picture, [B, C', h, w]."""
        small = stages.to_tensor(self.small)
        low_res: Any = DDPMScheduler
        schedule = low_res.from_config(self.components.low_res_scheduler_config)
        level = torch.tensor([self.request.noise_level or 0])
        grain = noise.standard_normal(generators, small.shape[1:])
        seen: Tensor = schedule.add_noise(small.expand_as(grain), grain, level)
        return seen

    def finish(self, image: Image.Image) -> Image.Image:
        times = self.request.upscale or self.components.card.times
        size = self.small.width * times, self.small.height * times
        return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


class _EnlargingLatents(_Enlarging):
    """Equal to diffusers' StableDiffusionLatentUpscalePipeline."""

    @property
    def size(self) -> tuple[int, int]:
        unet, scale = self.components.unet, self.components.card.scale
        width, height = (preconditioning.whole_edge(e, unet, scale) for e in self.small.size)
        return 2 * width, 2 * height

    def seen(self, generators: Sequence[torch.Generator]) -> Tensor:
        width, height = self.size
        whole = cut(self.small, (0, 0, width // 2, height // 2))
        vae = self.components.vae
        return preconditioning.low_resolution(vae, stages.to_tensor(whole), generators)

    def finish(self, image: Image.Image) -> Image.Image:
        return super().finish(image.crop((0, 0, 2 * self.small.width, 2 * self.small.height)))
