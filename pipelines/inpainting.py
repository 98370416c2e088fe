"""Inpainting and outpainting: parts of a picture drawn anew, with any model or one made for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor

from studio.pipelines import masks, noise, runner, stages
from studio.pipelines.canvas import Canvas
from studio.pipelines.components import Components
from studio.pipelines.inputs import Sources
from studio.pipelines.request import Request
from studio.pipelines.runner import Result
from studio.pipelines.stages import Posterior, Start, Step
from studio.schedulers import strength
from studio.schedulers.stepping import Scheduler


def inpainting(
    components: Components,
    requests: Sequence[Request],
    sources: Sources,
    *,
    on_step: Callable[[Step], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    batch_size: int | None = None,
) -> Iterator[Result]:
    """Draws the masked part of the init image, or what lies beyond it, once per request.

    Args:
        components: the loaded model; its U-Net may take the mask and the picture as channels.
        requests: as for :func:`runner.run`, with an init image and a mask or extended edges.
        sources: the init image and its mask.
        on_step: as for :func:`runner.run`.
        cancel: likewise.
        batch_size: likewise.

    Raises:
        RequestError: at the call: the requests differ, are not resolved, or do not fit the model;
            a mask that is black all over.
        ModelError: at the call: the model takes other channels.
        RunError: while drawing, see :func:`runner.run`.
    """
    if not requests:
        return iter(())
    components.card.check(requests[0])
    runner.check_channels(components, or_inpainting=True)
    task = IntoPicture(components, Canvas.of(requests[0], sources), requests[0])
    return runner.run(
        components, requests, task, on_step=on_step, cancel=cancel, batch_size=batch_size
    )


@dataclass(frozen=True, eq=False)
class IntoPicture:
    """The task of :mod:`runner`; equal to diffusers' StableDiffusionInpaintPipeline.

    A plain U-Net draws everywhere, and after each step what is outside the mask is replaced by
    the picture at that noise level (https://arxiv.org/abs/2201.09865). One with 2 C + 1 input
    channels sees the mask and the picture without the masked part beside the latents. Strength 0
    decodes the mode of the VAE's posterior. ``mask_fill`` "noise" puts unit noise in place of the
    picture's latents before the noise of the first step is added.

    Args:
        components: the model.
        canvas: the picture to start from, of the size that is drawn, and its hole.
        request: strength, steps and mask_fill.
    """

    components: Components
    canvas: Canvas
    request: Request

    @property
    def size(self) -> tuple[int, int]:
        return self.canvas.picture.size

    @cached_property
    def seen(self) -> Posterior:
        """The picture as the VAE sees it."""
        return stages.posterior(self.components.vae, stages.to_tensor(self.canvas.picture))

    @cached_property
    def surroundings(self) -> Posterior:
        """The picture without the masked part (grey), as the VAE sees it."""
        assert self.canvas.hole is not None
        kept = stages.to_tensor(self.canvas.picture) * (1 - stages.to_tensor(self.canvas.hole))
        return stages.posterior(self.components.vae, kept)

    def start(
        self,
        requests: Sequence[Request],
        scheduler: Scheduler,
        generators: Sequence[torch.Generator],
    ) -> Start:
        model, hole = self.components, self.canvas.hole
        assert hole is not None
        begin = strength.begin(scheduler, self.request.steps or 0, self.request.strength or 0.0)
        if begin == len(scheduler.timesteps):
            return Start(self.seen.mean.repeat(len(requests), 1, 1, 1), begin)
        shape = model.latent_shape(*self.size)
        cells = masks.latent_cells(hole, shape[-2:]).to(model.runtime.device)
        sees_mask = model.unet.config.in_channels != shape[0]
        # The draws and their order are diffusers' (the third one also where it is not used), so
        # that one seed means the same picture in both.
        known = None if sees_mask and begin == 0 else self.seen.sample(generators)
        unit = stages.first_noise(requests, shape, generators).to(cells)
        beside = None
        if sees_mask:
            around = self.surroundings.sample(generators)
            beside = torch.cat([cells.expand(len(requests), -1, -1, -1), around], dim=1)
        else:
            noise.standard_normal(generators, shape)
        if begin == 0 or known is None:
            latents = Start.from_noise(unit, scheduler).latents
        else:
            clean = known
            if self.request.mask_fill == "noise":
                clean = torch.lerp(known, noise.standard_normal(generators, shape).to(unit), cells)
            latents = strength.noised(scheduler, clean, unit, begin)
        if sees_mask or known is None:
            return Start(latents, begin, beside)

        def hold(latents: Tensor, index: int) -> Tensor:
            outside = known
            if index < len(scheduler.timesteps):
                outside = strength.noised(scheduler, known, unit, index)
            return (1 - cells) * outside + cells * latents

        return Start(latents, begin, hold=hold)

    def finish(self, image: Image.Image) -> Image.Image:
        return self.canvas.finished(image)
