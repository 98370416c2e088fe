"""The stages that pipelines are made of: noise, guided denoise, preview, decode.

Each is a function of what it is given; none keeps state. Shapes: B images, C latent channels,
latents of h x w, pictures of H x W pixels, conditioning of T tokens with D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from studio.errors import Cancelled
from studio.pipelines import noise, vae_tiling
from studio.pipelines.acceleration import accelerated
from studio.pipelines.batching import Shared
from studio.pipelines.guidance import Guided, UNetDenoiser
from studio.pipelines.joined import Joined
from studio.pipelines.prompt_encoding import ConditioningSchedule
from studio.pipelines.request import Request
from studio.schedulers import stepping
from studio.schedulers.stepping import Scheduler

_PREVIEW = 32  # latents along the longer edge of a preview


@dataclass(frozen=True)
class Step:
    """Progress after one step of the sampler.

    Args:
        index: model evaluations done, 1 to ``total``.
        total: model evaluations of this batch.
        requests: the pictures that are being drawn together.
        preview: draws the pictures as predicted now, one PIL image each; costs a small decode,
            and only where it is called.
    """

    index: int
    total: int
    requests: tuple[Request, ...]
    preview: Callable[[], list[Image.Image]]


@dataclass(frozen=True, eq=False)
class Start:
    """Where the loop starts, and what holds it on the way.

    Args:
        latents: [B, C, h, w] at the noise level of ``scheduler.timesteps[begin]``.
        begin: index of the first timestep to walk; the number of timesteps walks none.
        extra_channels: what the model sees beside the latents, [B, C', h, w].
        hold: called after each step with the latents and the index of the timestep that is next;
            gives the latents to go on with, [B, C, h, w].
        end: index of the first timestep not to walk, None walks to the last.
    """

    latents: Tensor
    begin: int = 0
    extra_channels: Tensor | None = None
    hold: Callable[[Tensor, int], Tensor] | None = None
    end: int | None = None

    @classmethod
    def from_noise(cls, unit: Tensor, scheduler: Scheduler) -> Start:
        """Unit noise [B, C, h, w] scaled to the scheduler's first noise level."""
        return cls(unit * scheduler.init_noise_sigma)


def first_noise(
    requests: Sequence[Request],
    shape: Sequence[int],
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Unit noise [B, C, h, w], fp32 on the CPU.

    Image b draws from the b-th generator; its variation from a generator of its own.
    """
    drawn = noise.standard_normal(generators, shape)
    strength = requests[0].variation_strength
    if strength > 0:
        others = noise.generators([r.variation_seed or 0 for r in requests])
        drawn = noise.varied(drawn, noise.standard_normal(others, shape), strength)
    return drawn


@contextmanager
def deterministic() -> Iterator[None]:
    """Convolutions that add up in a fixed order: the same picture again on the same GPU."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


@deterministic()
def denoise(
    denoiser: Callable[[Tensor, Tensor, int], Tensor],
    scheduler: Scheduler,
    start: Start,
    generators: Sequence[torch.Generator],
    *,
    watch: Callable[[int, Tensor], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Tensor:
    """The one sampler loop: walks the scheduler's timesteps to clean latents [B, C, h, w].

    Args:
        denoiser: prediction from (variance-preserving latents, timestep, index of the timestep).
        scheduler: diffusers scheduler with its timesteps set.
        start: the first latents, [B, C, h, w], and where on the way they stand.
        generators: one per image, for samplers that add noise.
        watch: called after each step with its index and the predicted latents [B, C, h, w].
        cancel: asked before each step.

    Raises:
        Cancelled: ``cancel`` answered yes.
    """
    latents, begin = start.latents, start.begin
    end = len(scheduler.timesteps) if start.end is None else start.end
    for index in range(begin, end):
        t = scheduler.timesteps[index]
        if cancel is not None and cancel():
            raise Cancelled(f"Stopped before step {index - begin + 1} of {end - begin}.")
        x = scheduler.scale_model_input(latents, t)
        output = denoiser(x, t, index)
        if watch is not None:
            predicted = stepping.denoised(scheduler, output, t, latents)
        latents = stepping.step(scheduler, output, t, latents, generators)
        if start.hold is not None:
            latents = start.hold(latents, index + 1)
        if watch is not None:
            watch(index, predicted)
    return latents


def reporting(
    on_step: Callable[[Step], None],
    requests: tuple[Request, ...],
    vae: Any,
    walk: tuple[int, int],
    size: tuple[int, int],
    finish: Callable[[Image.Image], Image.Image],
) -> Callable[[int, Tensor], None]:
    """Turns what :func:`denoise` tells its watcher into :class:`Step`.

    Args:
        on_step: gets each step.
        requests: the pictures of the batch.
        vae: draws the previews.
        walk: indices of the first timestep that is walked and of the one after the last.
        size: (width, height) of what is drawn.
        finish: makes the picture to show of what is drawn.
    """
    begin, end = walk

    def watch(index: int, predicted: Tensor) -> None:
        def draw() -> list[Image.Image]:
            return [finish(image) for image in preview(vae, predicted, size)]

        on_step(Step(index + 1 - begin, end - begin, requests, draw))

    return watch


def guided_unet(unet: Any, shared: Shared) -> Guided:
    """A diffusers U-Net, guided as a batch of requests asks for."""
    return Guided(
        UNetDenoiser(unet),
        shared.guidance_scale,
        shared.guidance_rescale,
        shared.guidance_start,
        shared.guidance_end,
    )


def prompted(
    guided: Guided, schedules: Sequence[ConditioningSchedule], steps: int, evaluations: int
) -> Callable[[Tensor, Tensor, int], Tensor]:
    """A guided denoiser bound to the prompts of a batch, as :func:`denoise` wants it.

    Images whose prompts fill the same number of windows share a call.

    Args:
        guided: guidance around the model.
        schedules: conditioning of each image.
        steps: steps as the request counts them; prompts may change from step to step.
        evaluations: timesteps that the scheduler walks, more than ``steps`` for some samplers.
    """

    joined = Joined()

    def predict(x: Tensor, t: Tensor, index: int) -> Tensor:
        step = index * steps // evaluations
        pairs = [schedule.at(step) for schedule in schedules]
        share = step / steps
        if len({positive.embeds.shape for positive, _ in pairs}) == 1:
            positive, negative = (joined(part) for part in zip(*pairs, strict=True))
            return guided(x, t, positive, negative, share)
        alone = [guided(x[i : i + 1], t, *pair, share) for i, pair in enumerate(pairs)]
        return torch.cat(alone)

    return predict


def seeing(
    predict: Callable[[Tensor, Tensor, int], Tensor], extra_channels: Tensor | None
) -> Callable[[Tensor, Tensor, int], Tensor]:
    """A denoiser whose model sees ``extra_channels`` [B, C', h, w] behind the latents."""
    if extra_channels is None:
        return predict

    def concatenated(x: Tensor, t: Tensor, index: int) -> Tensor:
        return predict(torch.cat([x, extra_channels], dim=1), t, index)

    return concatenated


@dataclass(frozen=True, eq=False)
class Posterior:
    """What the VAE sees in a picture: a Gaussian over latents, already scaled for the U-Net.

    Args:
        mean: [1, C, h, w], also the mode; fp32.
        std: [1, C, h, w].
    """

    mean: Tensor
    std: Tensor

    def sample(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Latents [B, C, h, w], image b drawn with the b-th generator."""
        unit = noise.standard_normal(generators, self.mean.shape[1:])
        return torch.addcmul(self.mean, self.std, unit.to(self.mean))


@deterministic()
def posterior(vae: Any, picture: Tensor) -> Posterior:
    """What the VAE sees in a picture [1, 3, H, W] in [-1, 1]; in tiles where memory is short."""
    edge = vae_tiling.tile_edge(vae, picture.shape[-1], picture.shape[-2])
    seen = vae_tiling.encode(vae, picture.to(vae.device, vae.dtype), edge)
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    scale = vae.config.scaling_factor
    return Posterior((seen.mean.float() - shift) * scale, seen.std.float() * scale)


@deterministic()
def decode(vae: Any, latents: Tensor, edge: int | None = None) -> Tensor:
    """Pictures [B, 3, H, W] of latents [B, C, h, w]: fp32 on the CPU, about [-1, 1].

    What is not finite stays so, for the caller to see. ``edge``: latents along the edge of a tile,
    None = all at once.
    """
    shift = getattr(vae.config, "shift_factor", None) or 0.0
    z = (latents / vae.config.scaling_factor + shift).to(vae.dtype)
    with accelerated(vae):
        return vae_tiling.decode(vae, z, edge)


@torch.inference_mode()
def preview(vae: Any, latents: Tensor, size: tuple[int, int]) -> list[Image.Image]:
    """Quick pictures of latents [B, C, h, w]: decoded small, enlarged to (width, height)."""
    shrink = min(1.0, _PREVIEW / max(latents.shape[-2:]))
    if shrink < 1:
        small = [max(1, round(edge * shrink)) for edge in latents.shape[-2:]]
        latents = torch.nn.functional.interpolate(latents, size=small, mode="area")
    pictures = decode(vae, latents).nan_to_num()
    return [to_pil(picture).resize(size) for picture in pictures]


def to_tensor(image: Image.Image) -> Tensor:
    """[1, 3, H, W] in [-1, 1] of an RGB image; [1, 1, H, W] in [0, 1] of a mask ("L")."""
    levels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    picture = levels.view(1, image.height, image.width, -1).permute(0, 3, 1, 2).float() / 255
    return picture if image.mode == "L" else picture * 2 - 1


def to_pil(picture: Tensor) -> Image.Image:
    """An RGB image of a picture [3, H, W] in [-1, 1]; values outside are clipped."""
    levels = (picture / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
