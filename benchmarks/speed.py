"""How fast the studio draws, and how fast against diffusers' own pipeline on the same weights.

    python -m benchmarks.speed --model mini --steps 20 --pairs 10

The two pipelines take turns in one process, so that what slows one slows the other; what counts is
the median of the ratios of the pairs. Command to picture is a process of its own, from its start
to its end, the picture saved.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from benchmarks.command_line import command_line
from benchmarks.sheet import PROMPTS, read_prompts
from studio import Picture, Request, Studio

T = TypeVar("T")


@dataclass(frozen=True)
class Comparison:
    """Seconds of ours and of diffusers' per pair, and the largest difference of their pixels."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    difference: int

    @property
    def ratio(self) -> float:
        """Median of ours / theirs: below 1 we are faster."""
        return statistics.median(a / b for a, b in zip(self.ours, self.theirs, strict=True))

    def __str__(self) -> str:
        return (
            f"ours {statistics.median(self.ours):.3f} s, diffusers "
            f"{statistics.median(self.theirs):.3f} s, median ratio {self.ratio:.3f} "
            f"({len(self.ours)} pairs), pixels differ by {self.difference}/255 at most"
        )


def compare(studio: Studio, requests: Sequence[Request]) -> Comparison:
    """Times the studio and diffusers' StableDiffusionPipeline in turns, a request a pair.

    The requests differ in their prompts, so that neither side finds one in its cache. The first
    pair warms up and is not timed.
    """
    theirs = _diffusers(studio, requests[0])

    def ours(request: Request) -> Image.Image:
        return next(studio.generate(request)).image

    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    difference = 0
    for turn, request in enumerate(requests):
        sides = [("ours", ours), ("theirs", theirs)]
        drawn = {}
        for side, draw in sides if turn % 2 else reversed(sides):
            taken, drawn[side] = _timed(partial(draw, request))
            if turn:
                seconds[side].append(taken)
        a, b = (np.asarray(drawn[side], dtype=np.int16) for side in ("ours", "theirs"))
        difference = max(difference, int(np.abs(a - b).max()))
    return Comparison(tuple(seconds["ours"]), tuple(seconds["theirs"]), difference)


def command_to_picture(request: Request) -> float:
    """Seconds of ``studio generate`` from its start to its end, in an empty folder."""
    command = [sys.executable, "-m", "studio.cli.main", "generate", request.prompt, "--quiet"]
    for field in ("model", "steps", "seed", "sampler", "schedule"):
        command += [f"--{field}", str(getattr(request, field))]
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = _timed(
            lambda: subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        )
    return seconds


def stages(pictures: Sequence[Picture]) -> dict[str, float]:
    """Median seconds of each stage."""
    timings = [picture.timings for picture in pictures if picture.timings]
    return {
        stage: statistics.median(getattr(each, f"{stage}_s") for each in timings)
        for stage in ("encode", "denoise", "decode", "total")
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints all three measurements."""
    options = _options(arguments)
    studio = Studio(options.model, device=options.device)
    requests = [
        studio.resolve(
            prompt, seed=1, steps=options.steps, sampler=options.sampler, schedule="Automatic"
        )
        for prompt in islice(cycle(read_prompts(PROMPTS)), 1 + options.pairs)
    ]
    request = requests[0]
    print(f"{options.model}, {request.steps} steps of {request.sampler}, torch {torch.__version__}")
    load_s, _ = _timed(studio.load)
    pictures = [next(studio.generate(request)) for request in requests][1:]
    runtime = pictures[0].recipe
    print(f"device {runtime.device}, {runtime.precision}, {torch.get_num_threads()} threads")
    print(f"load        {load_s:8.3f} s")
    for stage, seconds in stages(pictures).items():
        print(f"{stage:<11} {seconds:8.3f} s")
    if options.commands:
        command_to_picture(request)  # fills the file cache
        taken = [command_to_picture(request) for _ in range(options.commands)]
        print(f"command     {statistics.median(taken):8.3f} s from start to saved picture")
    fresh = Studio(options.model, device=options.device)
    print(compare(fresh, requests))


def _diffusers(studio: Studio, like: Request) -> Callable[[Request], Image.Image]:
    """diffusers' pipeline over the very same modules and the same scheduler."""
    from diffusers import StableDiffusionPipeline

    from studio.schedulers import catalogue

    parts = studio.load()
    assert like.sampler, "the request is resolved"
    assert like.schedule, "the request is resolved"
    pipeline: Any = StableDiffusionPipeline(  # type: ignore[no-untyped-call]
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        scheduler=catalogue.build(
            like.sampler, like.schedule, like.steps or 1, parts.scheduler_config
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)

    def draw(request: Request) -> Image.Image:
        generator = torch.Generator("cpu").manual_seed(request.seed or 0)
        image: Image.Image = pipeline(
            request.prompt,
            negative_prompt=request.negative_prompt,
            width=request.width,
            height=request.height,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance_scale,
            guidance_rescale=request.guidance_rescale,
            generator=[generator],
        ).images[0]
        return image

    return draw


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line("speed", __doc__, model=True)
    parser.add_argument("--device", default="auto", help="where to draw (auto)")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps (20)")
    parser.add_argument("--sampler", default="DDIM", help="a sampler of diffusers' own (DDIM)")
    parser.add_argument("--pairs", type=int, default=10, help="timed pairs of pictures (10)")
    parser.add_argument("--commands", type=int, default=3, help="timed commands; 0: none (3)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
