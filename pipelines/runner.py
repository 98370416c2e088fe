"""What every pipeline shares: batches, the ladder of recovery, timings, previews, cancel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from studio.errors import Cancelled, ModelError, NotANumberError
from studio.pipelines import noise, offload, recovery, stages
from studio.pipelines.acceleration import accelerated
from studio.pipelines.batching import Shared
from studio.pipelines.components import Components
from studio.pipelines.prompt_encoding import ConditioningSchedule
from studio.pipelines.request import Request
from studio.pipelines.reuse import Reuse
from studio.pipelines.size_conditioning import time_ids
from studio.pipelines.stages import Start, Step
from studio.pipelines.timings import Timings
from studio.schedulers import catalogue, handover
from studio.schedulers.stepping import Scheduler


@dataclass(frozen=True)
class Result:
    """One picture.

    Args:
        image: RGB, of the size that the request asks for (for ``only_masked`` the init image's).
        request: as run, ``count`` 1, every field filled.
        timings: this picture's share of its batch.
        recovery: what had to be tried before it succeeded, in order; mostly empty.
        latents: what the picture was decoded from, [1, C, h, w]; None where it was not.
    """

    image: Image.Image
    request: Request
    timings: Timings
    recovery: tuple[str, ...] = ()
    latents: Tensor | None = None


class Task(Protocol):
    """What sets one pipeline apart from the others."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of what the model draws."""

    def start(
        self,
        requests: Sequence[Request],
        scheduler: Scheduler,
        generators: Sequence[torch.Generator],
    ) -> Start:
        """Where the loop starts for a batch, image b drawing from the b-th generator only."""

    def finish(self, image: Image.Image) -> Image.Image:
        """The picture to hand out, from what the model drew; for previews too."""


def check_channels(components: Components, *, or_inpainting: bool = False) -> None:
    """Refuses a U-Net that wants more than latents [B, C, h, w].

    Args:
        components: the model.
        or_inpainting: lets 2 C + 1 channels pass, for latents, mask and masked picture.

    Raises:
        ModelError: says what the U-Net wants.
    """
    channels, latents = components.unet.config.in_channels, components.vae.config.latent_channels
    inpaints = channels == 2 * latents + 1
    if channels == latents or (inpaints and or_inpainting):
        return
    raise ModelError(
        f"The U-Net of {components.name} takes {channels} channels, {channels - latents} more "
        "than its latents have.",
        valid="a request with init_image and mask, or another model" if inpaints else "",
    )


def run(
    components: Components,
    requests: Sequence[Request],
    task: Task,
    *,
    on_step: Callable[[Step], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    batch_size: int | None = None,
) -> Iterator[Result]:
    """Draws one picture per request, in order.

    Args:
        components: the loaded model.
        requests: resolved, ``count`` 1 (see ``Request.singles``), alike but for prompts and seeds.
        task: where the loop starts and how it ends.
        on_step: called after each step of each batch.
        cancel: asked before each step and each decode.
        batch_size: images that share a U-Net call; None means what suits the device.

    Raises:
        RequestError: at the call: the requests differ or are not resolved.
        Cancelled, OutOfMemoryError, NotANumberError: while drawing. The sound pictures of a batch
            come out before a broken one is reported.
    """
    drawing = _Drawing(components, Shared.of(requests), task, on_step, cancel or (lambda: False))
    return drawing.run(list(requests), batch_size or components.runtime.batch_size)


@dataclass(frozen=True)
class _Drawing:
    components: Components
    shared: Shared
    task: Task
    on_step: Callable[[Step], None] | None
    cancel: Callable[[], bool]

    def run(self, requests: list[Request], size: int) -> Iterator[Result]:
        with offload.restored(*self.unets()):
            yield from self.results(requests, size)

    def results(self, requests: list[Request], size: int) -> Iterator[Result]:
        notes: list[str] = []
        while requests:
            batch = tuple(requests[:size])
            clock = [time.perf_counter()]
            encoded = recovery.attempt(partial(self.encode, batch))
            clock.append(time.perf_counter())
            latents = None
            if encoded is not None:
                latents = recovery.attempt(partial(self.denoise, batch, encoded))
            if encoded is None or latents is None:
                size = recovery.smaller(len(batch), self.unets(), notes)
                continue
            self.components.runtime.wait()
            clock.append(time.perf_counter())
            encode_s, denoise_s = ((b - a) / len(batch) for a, b in pairwise(clock))
            failure: NotANumberError | None = None
            for request, text, one in zip(batch, encoded, torch.split(latents, 1), strict=True):
                own, began = list(notes), time.perf_counter()
                try:
                    image = self.decode(request, text, one, own)
                except NotANumberError as error:
                    failure = error
                    continue
                timings = Timings(encode_s, denoise_s, time.perf_counter() - began)
                yield Result(image, request, timings, tuple(own), one)
            if failure:
                raise failure
            requests = requests[len(batch) :]

    def unets(self) -> list[Any]:
        models = self.components, self.components.refiner
        return [model.unet for model in models if model is not None]

    @torch.inference_mode()
    def encode(
        self, batch: Sequence[Request], model: Components | None = None
    ) -> list[ConditioningSchedule]:
        model, shared = model or self.components, self.shared
        encode = model.prompt_encoder.schedule
        texts = [encode(r.prompt, r.negative_prompt, shared.steps, shared.clip_skip) for r in batch]
        sizes = time_ids(model, self.task.size)
        texts = [text.with_time_ids(*sizes) for text in texts] if sizes else texts
        seen = model.image_prompt and model.image_prompt.tokens
        return [text.with_image(*seen) for text in texts] if seen else texts

    @torch.inference_mode()
    def denoise(
        self, batch: tuple[Request, ...], encoded: Sequence[ConditioningSchedule]
    ) -> Tensor:
        model, steps, refiner = self.components, self.shared.steps, self.components.refiner
        scheduler = self.scheduler(model)
        generators = noise.generators([r.seed or 0 for r in batch])
        start = self.task.start(batch, scheduler, generators)
        total = len(scheduler.timesteps)
        report = self.on_step and stages.reporting(
            self.on_step, batch, model.vae, (start.begin, total), self.task.size, self.task.finish
        )
        walk = partial(self.walk, generators=generators, report=report)
        if refiner is None:
            return walk(model, encoded, scheduler, start)
        done = handover.steps_before(scheduler, steps, batch[0].refiner_start or 0.0)
        end = max(start.begin, handover.end(scheduler, steps, done))
        latents = walk(model, encoded, scheduler, replace(start, end=end))
        scheduler = self.scheduler(refiner)
        begin = max(start.begin, handover.resume(scheduler, steps, done))
        rest = replace(start, latents=latents, begin=begin, extra_channels=None)
        return walk(refiner, self.encode(batch, refiner), scheduler, rest)

    def scheduler(self, model: Components) -> Scheduler:
        shared = self.shared
        return catalogue.build(
            shared.sampler,
            shared.schedule,
            shared.steps,
            model.scheduler_config,
            model.runtime.device,
        )

    def walk(
        self,
        model: Components,
        encoded: Sequence[ConditioningSchedule],
        scheduler: Scheduler,
        start: Start,
        *,
        generators: Sequence[torch.Generator],
        report: Callable[[int, Tensor], None] | None,
    ) -> Tensor:
        total = len(scheduler.timesteps)

        def asking(unet: Any) -> Callable[[Tensor, Tensor, int], Tensor]:
            guided = stages.guided_unet(unet, self.shared)
            return stages.prompted(guided, encoded, self.shared.steps, total)

        predict, control = asking(model.unet), model.control
        if control is not None:
            held = asking(control.over(model.unet, self.task.size))
            predict = control.between(predict, held, (start.begin, total))
        reuse = Reuse(self.shared.reuse)
        predict = reuse.counting(predict, start.begin)
        shown = model.image_prompt.shown_to(model.unet) if model.image_prompt else nullcontext()
        beside = accelerated(control.net) if control else nullcontext()
        offload.bring(model.unet)
        with shown, beside, reuse.within(model.unet), accelerated(model.unet):
            return stages.denoise(
                stages.seeing(predict, start.extra_channels),
                scheduler,
                start,
                generators,
                watch=report,
                cancel=self.cancel,
            )

    @torch.inference_mode()
    def decode(
        self, request: Request, text: ConditioningSchedule, latents: Tensor, notes: list[str]
    ) -> Image.Image:
        if self.cancel():
            raise Cancelled("Stopped before decoding.")
        model = self.components
        again = model.runtime.precision != "fp32" and not offload.in_groups(model.unet)
        if again and not latents.isfinite().all():
            notes.append("latents not finite: denoised again in fp32")
            with recovery.in_fp32(model.unet):
                latents = self.denoise((request,), [text])
        who = f"seed {request.seed}"
        return self.task.finish(stages.to_pil(recovery.decoded(model.vae, latents, notes, who)))
