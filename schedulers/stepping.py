"""One step of any scheduler, and what all schedulers have in common."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import torch


class Scheduler(Protocol):
    """The contract of a built scheduler: diffusers' own.

    ``timesteps`` [N] is walked from front to back; where a sampler calls the model twice a step,
    it holds both calls. ``init_noise_sigma`` scales unit noise to the first latents.
    """

    timesteps: torch.Tensor
    alphas_cumprod: torch.Tensor
    config: Any

    @property
    def init_noise_sigma(self) -> float | torch.Tensor: ...

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None: ...

    def scale_model_input(self, sample: torch.Tensor, timestep: Any) -> torch.Tensor: ...

    def step(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor) -> Any: ...

    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor: ...


@cache
def _takes_generator(kind: type) -> bool:
    return "generator" in inspect.signature(kind.step).parameters  # type: ignore[attr-defined]


def step(
    scheduler: Scheduler,
    model_output: torch.Tensor,
    timestep: torch.Tensor,
    latents: torch.Tensor,
    generators: Sequence[torch.Generator],
) -> torch.Tensor:
    """The latents one model call later.

    Args:
        scheduler: from :func:`studio.schedulers.catalogue.build`.
        model_output: what the model predicted at ``timestep``, [B, C, H, W].
        timestep: the element of ``scheduler.timesteps`` that is due.
        latents: current latents, [B, C, H, W].
        generators: one CPU generator an image; an image's noise comes from its own only.
    """
    noise: dict[str, Any] = {}
    if _takes_generator(type(scheduler)):
        noise["generator"] = list(generators)
    stepped = scheduler.step(model_output, timestep, latents, **noise).prev_sample
    return torch.as_tensor(stepped)


def denoised(
    scheduler: Scheduler,
    model_output: torch.Tensor,
    timestep: torch.Tensor,
    latents: torch.Tensor,
) -> torch.Tensor:
    """The picture that the model sees in the latents (x0), for previews, [B, C, H, W].

    Call it before :func:`step` of the same timestep: the input scaling belongs to that step.
    """
    table = scheduler.alphas_cumprod.to(torch.float32)
    t = min(max(float(timestep), 0.0), len(table) - 1.0)
    low = int(t)
    high = min(low + 1, len(table) - 1)
    alpha_bar = float(torch.lerp(table[low], table[high], t - low))
    alpha, sigma = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    sample = scheduler.scale_model_input(latents, timestep)
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return model_output
    if kind == "v_prediction":
        return torch.sub(sample * alpha, model_output, alpha=sigma)
    return torch.sub(sample, model_output, alpha=sigma).div(alpha)
