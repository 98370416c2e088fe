"""Draws a batch's packs with the studio, and learns how large a pack may be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from studio.batch.engine import Pack
from studio.batch.identity import job_id
from studio.batch.job import Job, Outcome
from studio.batch.packing import PackSize
from studio.batch.pictures import encoded
from studio.errors import ModelError
from studio.facade import Studio
from studio.inputs import Inputs
from studio.picture import Picture

if TYPE_CHECKING:
    from studio.pipelines.drawing import Step


class StudioArtist:
    """Draws with one model at a time; loads it when it is first needed.

    Args:
        device: see :class:`~studio.facade.Studio`; so for the next three.
        precision: number format of the weights.
        attention: attention backend.
        memory: how much of it may be held.
        inputs: folder of the pictures that requests start from.
        threads: of the CPU; None = as many as torch likes.
        on_step: called after each denoising step.
        studio: draws the pictures of its own model, instead of a new one.
    """

    def __init__(
        self,
        device: str = "auto",
        precision: str = "auto",
        attention: str = "auto",
        memory: str = "auto",
        *,
        inputs: Path | None = None,
        threads: int | None = None,
        on_step: Callable[[Step], None] | None = None,
        studio: Studio | None = None,
    ) -> None:
        self._runtime = (device, precision, attention, memory)
        self._inputs, self._threads, self._on_step = inputs, threads, on_step
        self._studio = studio
        self._sizes: PackSize | None = None

    def pack_size(self, job: Job) -> int:
        """One on the CPU; on a GPU what its memory holds. Loads the model."""
        runtime = self._with(job.request.model).load().runtime
        if not runtime.device.startswith("cuda"):
            return runtime.batch_size
        import torch

        free = torch.cuda.mem_get_info(runtime.device)[0]
        unused = torch.cuda.memory_reserved(runtime.device)
        unused -= torch.cuda.memory_allocated(runtime.device)
        self._sizes = self._sizes or PackSize(runtime.batch_size)
        return self._sizes.next(_pixels(job), free + unused)

    def draw(self, pack: Pack) -> Iterator[Outcome]:
        """See :class:`~studio.batch.engine.Artist`."""
        studio = self._with(pack[0].request.model)
        jobs = {job.request: job for job in pack}
        size = len(pack) if self._sizes else None
        memory = self._sizes and _Peak(studio, self._sizes, pack)
        for picture in studio.draw(tuple(jobs), on_step=self._on_step, batch_size=size):
            job, recipe = jobs[picture.request], picture.recipe
            if job_id(recipe.request, recipe.weights_sha256) != job.id:
                raise ModelError(
                    f"The weights of {recipe.model} were changed after the batch was planned.",
                    valid="the same command again",
                )
            if memory:
                memory.seen(picture)
            seconds = picture.timings.total_s if picture.timings else 0.0
            data = encoded(picture.image, recipe, job)
            yield Outcome(job.id, data, seconds, picture.recovery)

    def _with(self, model: str) -> Studio:
        if self._studio is None or self._studio.model != model:
            self._studio = None  # free its memory first
            device, precision, attention, memory = self._runtime
            self._studio = Studio(
                model,
                device=device,
                precision=precision,
                attention=attention,
                memory=memory,
                inputs=Inputs(self._inputs),
            )
            if self._threads:
                import torch

                torch.set_num_threads(self._threads)
            self._sizes = None
        return self._studio


class _Peak:
    """Measures what a pack takes of a GPU's memory."""

    def __init__(self, studio: Studio, sizes: PackSize, pack: Pack) -> None:
        import torch

        self._sizes, self._pack, self._left = sizes, pack, len(pack)
        self._device = studio.load().runtime.device
        self._before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)

    def seen(self, picture: Picture) -> None:
        """One picture of the pack is there; with the last one, the peak is known."""
        import torch

        self._left -= 1
        pixels = _pixels(self._pack[0])
        if any("batch of" in note for note in picture.recovery):
            self._sizes.overflowed(pixels, len(self._pack))
        elif not self._left:
            peak = torch.cuda.max_memory_allocated(self._device) - self._before
            self._sizes.drew(pixels, len(self._pack), peak)


def _pixels(job: Job) -> int:
    return (job.request.width or 0) * (job.request.height or 0)
