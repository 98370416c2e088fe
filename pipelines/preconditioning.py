"""Stable Diffusion's x2 upscaler, preconditioned as Karras et al. 2022 (table 1) have it.

Its U-Net comes from k-diffusion: it is told ``log(sigma) / 4`` for the time, and beside it the
noise on the small picture and the pooled text; what it says is a share of the clean latents, which
the noisy ones make whole. https://huggingface.co/stabilityai/sd-x2-latent-upscaler
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.nn import functional

from studio.pipelines import stages

_LEVEL_FEATURES = 64  # of cosine and of sine each, with which the U-Net is told the noise level


@dataclass(frozen=True, eq=False)
class Preconditioned:
    """Such a U-Net as one that predicts clean latents ("sample"), for any sampler.

    Args:
        unet: diffusers' UNet2DConditionModel with ``time_cond_proj_dim``.
        sigmas: [T], noise over signal at each training timestep.
    """

    unet: Any
    sigmas: Tensor

    @classmethod
    def of(cls, unet: Any, scheduler_config: Mapping[str, Any]) -> Preconditioned:
        """With the noise levels of the schedule that it was trained with."""
        schedule: Any = DDPMScheduler
        alpha_bar = schedule.from_config(scheduler_config).alphas_cumprod
        return cls(unet, ((1 - alpha_bar) / alpha_bar).sqrt())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unet, name)

    def __call__(
        self,
        x: Tensor,
        t: Tensor,
        *,
        encoder_hidden_states: Tensor,
        added_cond_kwargs: Mapping[str, Tensor],
        **options: Any,
    ) -> tuple[Tensor]:
        """Clean latents [N, C, h, w], fp32, in a tuple as diffusers has it.

        Args:
            x: [N, 2 C, h, w], latents of unit variance, then those of the small picture.
            t: timestep, a scalar.
            encoder_hidden_states: [N, T, D].
            added_cond_kwargs: ``text_embeds`` [N, P], the pooled text.
            options: for the U-Net.
        """
        sigma = self._sigma(t).to(x.device)
        pooled = added_cond_kwargs["text_embeds"]
        level = pooled.new_zeros(len(x), 2 * _LEVEL_FEATURES)
        level[:, :_LEVEL_FEATURES] = 1  # cosine and sine of no noise
        output = self.unet(
            x,
            sigma.log() / 4,
            encoder_hidden_states=encoder_hidden_states,
            timestep_cond=torch.cat([level, pooled], dim=1),
            **options,
        )[0].float()
        said = output[:, :-1]  # the last channel is a variance that only training uses
        noisy = x[:, : said.shape[1]].float()
        signal = (sigma**2 + 1).rsqrt()
        return (signal * noisy + signal * sigma * said,)

    def _sigma(self, t: Tensor) -> Tensor:
        """Between timesteps in a straight line, as diffusers' Euler has it."""
        time = t.cpu().float().clamp(0, len(self.sigmas) - 1)
        low = time.long()
        high = (low + 1).clamp(max=len(self.sigmas) - 1)
        return torch.lerp(self.sigmas[low], self.sigmas[high], time - low)


def low_resolution(vae: Any, small: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """What the U-Net sees of a small picture: its latents at twice their size, [B, C, 2 h, 2 w].

    Args:
        vae: diffusers' AutoencoderKL.
        small: [1, 3, H, W] in [-1, 1].
        generators: one per image; the VAE's answer is drawn with it.
    """
    latents = stages.posterior(vae, small).sample(generators)
    return functional.interpolate(latents, scale_factor=2, mode="nearest")


def whole_edge(edge: int, unet: Any, scale: int) -> int:
    """Pixels to which the small picture's edge is to grow.

    Such U-Nets halve no odd edge, and reflect at the edges of what is left in the end.

    Args:
        edge: pixels.
        unet: the U-Net.
        scale: pixels along one latent's edge.
    """
    halvings = len(unet.config.block_out_channels) - 1
    unit = max(scale, scale * 2**halvings // 2)
    return int(unit * max(2, math.ceil(edge / unit)))
