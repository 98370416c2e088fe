"""A picture on the GPU: ours beside diffusers as it comes and diffusers at its best settings.

    python -m benchmarks.gpu --size sd15 --batch 1 --pairs 20
    python -m benchmarks.gpu --size tiny --device cpu --pairs 2

Architectures of the true sizes with random weights, in bf16. All candidates hold the same weights
and take turns in one process; what counts is the median of each round's ratio. A picture is guided
denoising from given text and latents, and its decoding. Diffusers at its best is channels last,
fused projections and torch.compile at max-autotune of U-Net and decoder; compiling is timed apart.

Each candidate's latents are held against an fp32 run: the distance of ours must be at most 1.1
times that of diffusers' own.
"""

from __future__ import annotations

import argparse
import copy
import gc
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmarks.command_line import command_line
from studio.pipelines import stages
from studio.pipelines.acceleration import accelerated
from studio.pipelines.conditioning import Conditioning
from studio.pipelines.families import Family, named
from studio.pipelines.guidance import Guided, UNetDenoiser
from studio.pipelines.parts import model_class
from studio.pipelines.prompt_encoding import ConditioningSchedule
from studio.schedulers import catalogue

SCALE = 5.0
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "prediction_type": "epsilon",
}


@dataclass(frozen=True)
class Size:
    """What is drawn: a family, its edge in pixels, and the steps."""

    family: str
    edge: int
    steps: int


SIZES = {"sd15": Size("sd1", 512, 20), "sdxl": Size("sdxl", 1024, 30), "tiny": Size("sd1", 64, 4)}


@dataclass(frozen=True, eq=False)
class Work:
    """Weights and inputs that every candidate shares.

    Args:
        size: what is drawn.
        unet: U-Net in the precision that is measured.
        vae: VAE, likewise.
        positive: text [B, 77, D], for SDXL pooled and sizes too.
        negative: the same.
        latents: unit noise [B, C, h, w], fp32.
    """

    size: Size
    unet: Any
    vae: Any
    positive: Conditioning
    negative: Conditioning
    latents: Tensor

    def on(self, unet: Any, vae: Any) -> Work:
        """The same with other modules."""
        return Work(self.size, unet, vae, self.positive, self.negative, self.latents)


@dataclass(eq=False)
class Candidate:
    """One way to draw: latents and pictures, the seconds to make it and those of each round."""

    name: str
    draw: Callable[[], tuple[Tensor, Tensor]]
    made_s: float
    seconds: list[float] = field(default_factory=list)


def work(size_name: str, batch: int, device: str, dtype: torch.dtype) -> Work:
    """Random weights and inputs, the same at every call."""
    size = SIZES[size_name]
    family = named(size.family)
    assert family, size.family
    torch.manual_seed(0)
    with torch.device(device):
        unet, vae = (_part(part, family, size_name == "tiny") for part in ("unet", "vae"))
        d = unet.config.cross_attention_dim
        edge = size.edge // 2 ** (len(vae.config.block_out_channels) - 1)
        texts = torch.randn(2, batch, 77, d, dtype=dtype)
        pooled = ids = None
        if size.family == "sdxl":
            pooled = torch.randn(2, batch, 1280, dtype=dtype)
            whole = (size.edge, size.edge)
            ids = torch.tensor([[*whole, 0, 0, *whole]] * batch, dtype=dtype)
        positive, negative = (
            Conditioning(texts[i], None if pooled is None else pooled[i], ids) for i in range(2)
        )
        latents = torch.randn(batch, 4, edge, edge)
    return Work(size, unet.to(dtype).eval(), vae.to(dtype).eval(), positive, negative, latents)


def _part(name: str, family: Family, tiny: bool) -> Any:
    config = dict(family.unet if name == "unet" else family.vae)
    if tiny:
        widths = [32, 64] if name == "unet" else [16, 16, 32, 32]
        config |= {"block_out_channels": widths, "norm_num_groups": 8, "layers_per_block": 1}
        if name == "unet":
            config |= {
                "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
                "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
                "cross_attention_dim": 32,
                "attention_head_dim": 4,
            }
    return model_class(name)(**config)


def theirs(work: Work) -> Callable[[], tuple[Tensor, Tensor]]:
    """diffusers' pipeline, over the work's modules."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    kind: Any = StableDiffusionXLPipeline
    scheduler: Any = DDIMScheduler
    parts: dict[str, Any] = {"unet": work.unet, "vae": work.vae, "text_encoder": None}
    parts |= {"tokenizer": None, "scheduler": scheduler(**SCHEDULE), "feature_extractor": None}
    inputs: dict[str, Any] = {
        "prompt_embeds": work.positive.embeds,
        "negative_prompt_embeds": work.negative.embeds,
        "guidance_scale": SCALE,
        "num_inference_steps": work.size.steps,
        "output_type": "latent",
        "height": work.size.edge,
        "width": work.size.edge,
    }
    if work.size.family == "sdxl":
        parts |= {"text_encoder_2": None, "tokenizer_2": None, "add_watermarker": False}
        inputs["pooled_prompt_embeds"] = work.positive.pooled
        inputs["negative_pooled_prompt_embeds"] = work.negative.pooled
    else:
        kind = StableDiffusionPipeline
        parts |= {"safety_checker": None, "requires_safety_checker": False}
    pipeline: Any = kind(**parts)
    pipeline.set_progress_bar_config(disable=True)
    dtype = work.positive.embeds.dtype

    def draw() -> tuple[Tensor, Tensor]:
        latents = pipeline(**inputs, latents=work.latents.to(dtype)).images
        scaled = latents.to(work.vae.dtype) / work.vae.config.scaling_factor
        return latents.float(), work.vae.decode(scaled, return_dict=False)[0].float().cpu()

    return draw


def best(work: Work) -> Callable[[], tuple[Tensor, Tensor]]:
    """diffusers with all that its documentation recommends for speed."""
    unet, vae = (copy.deepcopy(each) for each in (work.unet, work.vae))
    for model in (unet, vae):
        model.fuse_qkv_projections()
        model.to(memory_format=torch.channels_last)
    for module in (unet, vae.decoder):
        module.compile(mode="max-autotune", fullgraph=True)
    return theirs(work.on(unet, vae))


def ours(work: Work, *, channels_last: bool = True) -> Callable[[], tuple[Tensor, Tensor]]:
    """The studio's loop."""
    unet, vae = (copy.deepcopy(each) for each in (work.unet, work.vae))
    if channels_last:
        unet, vae = (each.to(memory_format=torch.channels_last) for each in (unet, vae))
    steps, device = work.size.steps, str(work.latents.device)
    schedules = [
        ConditioningSchedule((_one(work.positive, i),) * steps, (_one(work.negative, i),) * steps)
        for i in range(len(work.latents))
    ]

    def draw() -> tuple[Tensor, Tensor]:
        scheduler = catalogue.build("DDIM", "Automatic", steps, SCHEDULE, device)
        start = stages.Start.from_noise(work.latents, scheduler)
        guided = Guided(UNetDenoiser(unet), SCALE)
        predict = stages.prompted(guided, schedules, steps, len(scheduler.timesteps))
        with accelerated(unet):
            latents = stages.denoise(predict, scheduler, start, ())
        return latents, stages.decode(vae, latents)

    return draw


def _one(text: Conditioning, index: int) -> Conditioning:
    own = [None if t is None else t[index : index + 1] for t in (text.pooled, text.time_ids)]
    return Conditioning(text.embeds[index : index + 1], *own)


KINDS: dict[str, Callable[[Work], Callable[[], tuple[Tensor, Tensor]]]] = {
    "diffusers eager": theirs,
    "diffusers best": best,
    "ours": ours,
    "ours, plain layout": lambda work: ours(work, channels_last=False),
}


def candidates(shared: Work, names: Sequence[str]) -> Iterator[Candidate]:
    """Makes each and draws once with it, to warm up."""
    for name in names:
        began = time.perf_counter()
        draw = KINDS[name](shared)
        draw()
        _wait()
        yield Candidate(name, draw, time.perf_counter() - began)


def reference(options: argparse.Namespace) -> Tensor:
    """Latents of the same weights in fp32: those of the measured precision, rounded as they are."""
    low = work(options.size, options.batch, options.device, _dtype(options))
    positive, negative = (
        Conditioning(
            text.embeds.float(), None if text.pooled is None else text.pooled.float(), text.time_ids
        )
        for text in (low.positive, low.negative)
    )
    whole = Work(low.size, low.unet.float(), low.vae.float(), positive, negative, low.latents)
    return theirs(whole)()[0].cpu()


def _dtype(options: argparse.Namespace) -> torch.dtype:
    return torch.float32 if options.device == "cpu" else torch.bfloat16


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line a candidate."""
    parser = command_line("gpu", __doc__)
    parser.add_argument("--size", choices=SIZES, default="sd15")
    parser.add_argument("--batch", type=int, default=1, help="pictures at once (1)")
    parser.add_argument("--pairs", type=int, default=20, help="timed rounds (20)")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu (then in fp32)")
    parser.add_argument("--skip", nargs="*", default=[], choices=[*KINDS][1:], help="leave out")
    options = parser.parse_args(arguments)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference(options)
        gc.collect()
        shared = work(options.size, options.batch, options.device, _dtype(options))
        made = list(candidates(shared, [name for name in KINDS if name not in options.skip]))
        for turn in range(options.pairs):
            for candidate in made if turn % 2 else reversed(made):
                _wait()
                began = time.perf_counter()
                candidate.draw()
                _wait()
                candidate.seconds.append(time.perf_counter() - began)
        print(f"{options.size}, batch {options.batch}, {shared.size}, {options.device}, ", end="")
        print(f"{_dtype(options)}, {options.pairs} rounds, torch {torch.__version__}")
        heads = ("median ms", "least ms", "x eager", "distance", "made s")
        print(f"{'':20}" + "".join(f"{head:>10}" for head in heads))
        for each in made:
            ratio = statistics.median(
                a / b for a, b in zip(made[0].seconds, each.seconds, strict=True)
            )
            distance = float((each.draw()[0].cpu() - expected).norm() / expected.norm())
            median, least = (1000 * f(each.seconds) for f in (statistics.median, min))
            print(
                f"{each.name:20}{median:10.1f}{least:10.1f}{ratio:10.2f}{distance:10.2e}"
                f"{each.made_s:10.1f}"
            )


if __name__ == "__main__":
    main()
