"""Text to image: the loop starts from noise alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from studio.pipelines import runner, stages
from studio.pipelines.components import Components
from studio.pipelines.request import Request
from studio.pipelines.runner import Result
from studio.pipelines.stages import Start, Step
from studio.schedulers.stepping import Scheduler

__all__ = ["Result", "Step", "text_to_image"]


def text_to_image(
    components: Components,
    requests: Sequence[Request],
    *,
    on_step: Callable[[Step], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    batch_size: int | None = None,
) -> Iterator[Result]:
    """Draws one picture per request, in order. The arguments are those of :func:`runner.run`.

    Raises:
        RequestError: at the call: the requests differ, are not resolved, or do not fit the model.
        ModelError: at the call: the model only fills in parts of pictures.
        RunError: while drawing, see :func:`runner.run`.
    """
    if not requests:
        return iter(())
    components.card.check(requests[0])
    width, height = requests[0].width or 0, requests[0].height or 0
    runner.check_channels(components)
    task = _FromNoise(components, (width, height))
    return runner.run(
        components, requests, task, on_step=on_step, cancel=cancel, batch_size=batch_size
    )


@dataclass(frozen=True)
class _FromNoise:
    components: Components
    size: tuple[int, int]

    def start(
        self,
        requests: Sequence[Request],
        scheduler: Scheduler,
        generators: Sequence[torch.Generator],
    ) -> Start:
        unit = stages.first_noise(requests, self.components.latent_shape(*self.size), generators)
        return Start.from_noise(unit.to(self.components.runtime.device), scheduler)

    def finish(self, image: Image.Image) -> Image.Image:
        return image
