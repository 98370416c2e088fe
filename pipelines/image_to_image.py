"""Image to image: the loop starts from a picture with noise on it (SDEdit, arXiv:2108.01073)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from PIL import Image

from studio.pipelines import runner, stages
from studio.pipelines.canvas import Canvas
from studio.pipelines.components import Components
from studio.pipelines.inputs import Sources
from studio.pipelines.request import Request
from studio.pipelines.runner import Result
from studio.pipelines.stages import Posterior, Start, Step
from studio.schedulers import strength
from studio.schedulers.stepping import Scheduler


def image_to_image(
    components: Components,
    requests: Sequence[Request],
    sources: Sources,
    *,
    on_step: Callable[[Step], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    batch_size: int | None = None,
) -> Iterator[Result]:
    """Draws one picture per request over the init image, in order.

    Args:
        components: the loaded model.
        requests: as for :func:`runner.run`, with an init image.
        sources: the init image.
        on_step: as for :func:`runner.run`.
        cancel: likewise.
        batch_size: likewise.

    Raises:
        RequestError: at the call: the requests differ, are not resolved, or do not fit the model.
        ModelError: at the call: the model only fills in parts of pictures.
        RunError: while drawing, see :func:`runner.run`.
    """
    if not requests:
        return iter(())
    components.card.check(requests[0])
    runner.check_channels(components)
    task = FromPicture(components, Canvas.of(requests[0], sources), requests[0])
    return runner.run(
        components, requests, task, on_step=on_step, cancel=cancel, batch_size=batch_size
    )


@dataclass(frozen=True, eq=False)
class FromPicture:
    """The task of :mod:`runner`; equal to diffusers' StableDiffusionImg2ImgPipeline below 1.

    Strength 0 decodes the mode of the VAE's posterior. In between, each image draws its latents
    from the posterior and then its noise from its own generator. Strength 1 is noise alone, and
    so text to image, where diffusers adds what little signal the schedule leaves.

    Args:
        components: the model.
        canvas: the picture to start from, of the size that is drawn.
        request: strength and steps.
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

    def start(
        self,
        requests: Sequence[Request],
        scheduler: Scheduler,
        generators: Sequence[torch.Generator],
    ) -> Start:
        begin = strength.begin(scheduler, self.request.steps or 0, self.request.strength or 0.0)
        if begin == len(scheduler.timesteps):
            return Start(self.seen.mean.repeat(len(requests), 1, 1, 1), begin)
        shape = self.components.latent_shape(*self.size)
        device = self.components.runtime.device
        if begin == 0:
            unit = stages.first_noise(requests, shape, generators)
            return Start.from_noise(unit.to(device), scheduler)
        clean = self.seen.sample(generators)
        unit = stages.first_noise(requests, shape, generators).to(device)
        return Start(strength.noised(scheduler, clean, unit, begin), begin)

    def finish(self, image: Image.Image) -> Image.Image:
        return self.canvas.finished(image)
