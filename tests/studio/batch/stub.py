"""A stand-in for the model: pictures that follow from the request alone, without torch."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from studio.batch.engine import Pack
from studio.batch.identity import job_id
from studio.batch.job import Job, Outcome
from studio.batch.pictures import encoded
from studio.batch.sheet import Row
from studio.errors import NotANumberError
from studio.metadata import Recipe, Versions, pixel_sha256
from studio.pipelines.request import Defaults, Request

WEIGHTS = "5" * 64
_DEFAULTS = Defaults("Euler", "Automatic", 3, 4.0, 64, 64)


def job(index: int, **fields: object) -> Job:
    """The job of one stub picture."""
    usual: dict[str, object] = {"prompt": f"picture {index}", "seed": index}
    request = Request.of(**{**usual, **fields}).resolve(_DEFAULTS)
    return Job(job_id(request, WEIGHTS), index, request, _row(index, request))


def _row(index: int, request: Request) -> Row:
    return Row(index, index, request.prompt, request, request)


def jobs(count: int, **fields: object) -> list[Job]:
    """``count`` jobs with prompts and seeds of their own."""
    return [job(index, **fields) for index in range(1, count + 1)]


@dataclass(frozen=True)
class StubArtist:
    """Draws 64x64 pictures of a hash.

    Args:
        log: gets a line for each picture that is drawn.
        fails: prompts that come to nothing.
        pause_s: what one picture takes.
        together: pictures in a pack.
        noise: makes files of some 50 kB.
    """

    log: Path | None = None
    fails: Sequence[str] = ()
    pause_s: float = 0.0
    together: int = 1
    noise: bool = False

    def pack_size(self, job: Job) -> int:  # noqa: ARG002 (the same for all)
        return self.together

    def draw(self, pack: Pack) -> Iterator[Outcome]:
        broken = [job for job in pack if job.request.prompt in self.fails]
        for job in pack:
            if job in broken:
                continue
            time.sleep(self.pause_s)
            if self.log:
                with self.log.open("a", encoding="utf-8") as log:
                    log.write(f"{job.id}\n")
            yield Outcome(job.id, picture_file(job, noise=self.noise), seconds=self.pause_s)
        if broken:
            raise NotANumberError(f"seed {broken[0].request.seed}: failed: nan.")


def picture_file(job: Job, *, noise: bool = False) -> bytes:
    """The file that the stub draws for a job."""
    dice = random.Random(job.id)
    image = Image.frombytes("RGB", (2, 5), dice.randbytes(30))
    image = image.resize((64, 64), Image.Resampling.NEAREST)
    if noise:
        image = Image.frombytes("RGB", (128, 128), dice.randbytes(3 * 128 * 128))
    recipe = Recipe(
        request=job.request,
        model="stub",
        weights_sha256=WEIGHTS,
        versions=_versions(),
        device="cpu",
        precision="fp32",
        attention="none",
        pixel_sha256=pixel_sha256(image),
    )
    return encoded(image, recipe, job)


@cache
def _versions() -> Versions:
    return Versions.current()
