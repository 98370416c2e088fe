"""Guidance: a denoiser that wraps a denoiser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from studio.pipelines.conditioning import Conditioning
from studio.pipelines.joined import Joined


class Denoiser(Protocol):
    """Predicts noise, velocity or picture, whatever the model was trained for."""

    def __call__(self, x: Tensor, t: Tensor, text: Conditioning, /) -> Tensor:
        """Prediction [N, C, h, w] for variance-preserving x [N, C, h, w] at time t.

        Args:
            x: noisy latents of about unit variance.
            t: timestep, a scalar.
            text: conditioning [N, T, D].
        """


@dataclass(frozen=True)
class UNetDenoiser:
    """A diffusers U-Net as a denoiser: computes in its own precision, answers in fp32."""

    unet: Any

    def __call__(self, x: Tensor, t: Tensor, text: Conditioning) -> Tensor:
        dtype = self.unet.dtype
        beside = None
        if text.pooled is not None:
            beside = {"text_embeds": text.pooled.to(dtype)}
            beside |= {} if text.time_ids is None else {"time_ids": text.time_ids}
        seen: Any = text.embeds.to(dtype)
        if text.image is not None:  # as the attention processors of IP-Adapters take them
            seen = seen, [text.image.to(dtype)]
        output: Tensor = self.unet(
            x.to(dtype),
            t,
            encoder_hidden_states=seen,
            added_cond_kwargs=beside,
            return_dict=False,
        )[0]
        return output.float()


@dataclass(frozen=True)
class Guided:
    """Classifier-free guidance (https://arxiv.org/abs/2207.12598) around a denoiser.

    ``negative + scale (positive - negative)``, both in one batched call, negative first.

    Args:
        denoiser: what predicts.
        scale: 1 is no guidance and costs one pass.
        rescale: in [0, 1], how far the result is brought back to the deviation of the positive
            prediction (section 3.4 of https://arxiv.org/abs/2305.08891).
        start: share of the steps from which guidance acts (https://arxiv.org/abs/2404.07724).
        end: share of the steps up to which it acts; outside, no negative prediction is made.
    """

    denoiser: Denoiser
    scale: float
    rescale: float = 0.0
    start: float = 0.0
    end: float = 1.0
    joined: Joined = field(default_factory=Joined, compare=False, repr=False)

    def __call__(
        self, x: Tensor, t: Tensor, positive: Conditioning, negative: Conditioning, share: float
    ) -> Tensor:
        """Guided prediction [B, C, h, w].

        Args:
            x: variance-preserving latents [B, C, h, w].
            t: timestep, a scalar.
            positive: conditioning [B, T, D] of the prompts.
            negative: conditioning [B, T, D] of the negative prompts.
            share: steps done, as a share of all, in [0, 1).
        """
        if self.scale == 1 or not self.start <= share < self.end:
            return self.denoiser(x, t, positive)
        both = self.denoiser(torch.cat([x, x]), t, self.joined([negative, positive]))
        away, towards = both.chunk(2)
        guided = away + self.scale * (towards - away)
        return rescaled(guided, towards, self.rescale) if self.rescale else guided


def rescaled(guided: Tensor, positive: Tensor, share: float) -> Tensor:
    """Guided prediction [B, ...] with its deviation moved to the positive one's by ``share``."""
    axes = tuple(range(1, guided.ndim))
    ratio = positive.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
    return share * guided * ratio + (1 - share) * guided
