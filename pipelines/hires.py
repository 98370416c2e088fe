"""Hires fix: draw small, enlarge, and draw again over it, so that large pictures keep their form.

The idea is AUTOMATIC1111's; the second drawing is SDEdit (https://arxiv.org/abs/2108.01073).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from studio.errors import NotANumberError
from studio.pipelines import runner, stages
from studio.pipelines.components import Components
from studio.pipelines.enlarging import Draw, enlarger
from studio.pipelines.inputs import Sources
from studio.pipelines.request import Request
from studio.pipelines.request_rules import enlarged
from studio.pipelines.runner import Result
from studio.pipelines.stages import Start, Step
from studio.schedulers import catalogue, strength
from studio.schedulers.stepping import Scheduler


def hires(
    components: Components,
    requests: Sequence[Request],
    draw: Draw,
    *,
    on_step: Callable[[Step], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    batch_size: int | None = None,
) -> Iterator[Result]:
    """Draws one picture per request, ``hires_scale`` times as large as it asks for, in order.

    Both drawings take their noise from the picture's own seed; the steps of both are counted
    together.

    Args:
        components: the loaded model.
        requests: as for :func:`runner.run`, with ``hires_scale`` above 1.
        draw: draws requests with components from sources, as ``drawing.draw`` does.
        on_step: as for :func:`runner.run`.
        cancel: likewise.
        batch_size: likewise.

    Raises:
        RequestError: at the call: the requests differ, or do not fit the model.
        ModelError: at the call: the upscaler is not there.
        RunError: while drawing, see :func:`runner.run`.
    """
    large = _second(requests[0])
    components.card.check(large)
    size = large.width or 0, large.height or 0
    enlarge = enlarger(components, requests[0], size, draw)
    counted = on_step and _Counted(on_step, *_evaluations(components, requests[0]))
    options: dict[str, Any] = {"cancel": cancel, "batch_size": batch_size}
    plain = [request.model_copy(update={"hires_scale": 1.0}) for request in requests]
    first = draw(components, plain, Sources(), on_step=counted and counted.first, **options)
    options["on_step"] = counted and counted.second
    return _again(components, requests[0].hires_scale, first, enlarge, options)


def _again(
    components: Components,
    scale: float,
    first: Iterator[Result],
    enlarge: Callable[[Result], Tensor],
    options: dict[str, Any],
) -> Iterator[Result]:
    size = options["batch_size"] or components.runtime.batch_size
    while True:
        small, failure = _some(first, size)
        asked = [each.request.model_copy(update={"hires_scale": scale}) for each in small]
        if small:
            task = _Over(components, asked[0], small, enlarge)
            drawn = runner.run(components, [_second(request) for request in asked], task, **options)
            for request, before, after in zip(asked, small, drawn, strict=True):
                notes = (*before.recovery, *(f"hires: {note}" for note in after.recovery))
                timings = before.timings + after.timings
                yield replace(after, request=request, timings=timings, recovery=notes)
        if failure:
            raise failure
        if not small:
            return


def _some(results: Iterator[Result], size: int) -> tuple[list[Result], NotANumberError | None]:
    """Up to ``size`` results, and what kept the next one away; the sound ones are not lost."""
    found: list[Result] = []
    try:
        while len(found) < size and (result := next(results, None)) is not None:
            found.append(result)
    except NotANumberError as error:
        return found, error
    return found, None


@dataclass(frozen=True, eq=False)
class _Over:
    """The task of :mod:`runner`: over the enlarged latents of small pictures."""

    components: Components
    request: Request
    small: Sequence[Result]
    enlarge: Callable[[Result], Tensor]

    @property
    def size(self) -> tuple[int, int]:
        second = _second(self.request)
        return second.width or 0, second.height or 0

    def start(
        self,
        requests: Sequence[Request],
        scheduler: Scheduler,
        generators: Sequence[torch.Generator],
    ) -> Start:
        device = self.components.runtime.device
        drawn = {_key(result.request): result for result in self.small}
        clean = torch.cat([self.enlarge(drawn[_key(r)]) for r in requests]).to(device)
        steps, share = self.request.hires_steps or 0, self.request.hires_strength or 0.0
        begin = strength.begin(scheduler, steps, share)
        if begin == len(scheduler.timesteps):
            return Start(clean, begin)
        unit = stages.first_noise(requests, clean.shape[1:], generators).to(device)
        return Start(strength.noised(scheduler, clean, unit, begin), begin)

    def finish(self, image: Image.Image) -> Image.Image:
        return image


def _second(request: Request) -> Request:
    """The second drawing as a request of its own."""
    size = {name: enlarged(getattr(request, name), request.hires_scale) for name in _EDGES}
    return request.model_copy(update={**size, "steps": request.hires_steps})


_EDGES = ("width", "height")


def _key(request: Request) -> tuple[object, ...]:
    """What tells the pictures of a batch apart; equal ones may stand for each other."""
    return request.prompt, request.negative_prompt, request.seed, request.variation_seed


def _evaluations(components: Components, request: Request) -> tuple[int, int]:
    """Model evaluations of the first and of the second drawing."""

    def walk(steps: int, share: float) -> int:
        names = request.sampler or "", request.schedule or ""
        scheduler = catalogue.build(*names, steps, components.scheduler_config, "cpu")
        skipped = strength.begin(scheduler, steps, share) if share < 1 else 0
        return len(scheduler.timesteps) - skipped

    second = walk(request.hires_steps or 0, request.hires_strength or 0.0)
    return walk(request.steps or 0, 1.0), second


@dataclass(frozen=True)
class _Counted:
    """Passes the steps of two drawings on as those of one."""

    on_step: Callable[[Step], None]
    before: int
    after: int

    def first(self, step: Step) -> None:
        self.on_step(replace(step, total=self.before + self.after))

    def second(self, step: Step) -> None:
        self.on_step(replace(step, index=self.before + step.index, total=self.before + self.after))
