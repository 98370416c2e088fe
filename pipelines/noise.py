"""Noise, one CPU generator per image, so that no picture depends on its neighbours or device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_PARALLEL = 1e-4  # below this sine of the angle, slerp and a straight line are the same


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator per seed (0 to 2**64 - 1)."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def standard_normal(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Noise [B, *shape], fp32 on the CPU, image b from the b-th generator alone."""
    return torch.cat([torch.randn((1, *shape), generator=g) for g in generators])


def varied(noise: Tensor, variation: Tensor, strength: float) -> Tensor:
    """Noise [B, C, h, w] turned towards ``variation`` by ``strength`` in [0, 1].

    Spherical interpolation (https://dl.acm.org/doi/10.1145/325165.325242) keeps the norm, and with
    it the variance that the sampler expects. Each latent column is a vector of its own, as in
    A1111, so that a recipe made there gives the same noise here.
    """
    if strength == 0:
        return noise
    unit = [n / torch.linalg.vector_norm(n, dim=-2, keepdim=True) for n in (noise, variation)]
    angle = torch.acos((unit[0] * unit[1]).sum(-2, keepdim=True).clamp(-1, 1))
    sine = torch.sin(angle)
    straight = sine < _PARALLEL
    sine = torch.where(straight, 1.0, sine)
    a = torch.where(straight, 1 - strength, torch.sin((1 - strength) * angle) / sine)
    b = torch.where(straight, strength, torch.sin(strength * angle) / sine)
    return a * noise + b * variation
