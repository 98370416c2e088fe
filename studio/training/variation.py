"""Pictures varied, so that a tower learns what is alike in them: moved, coloured, blurred, erased.

All take and give pictures [B, 3, S, S] in [-1, 1], where 1 is white.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_BLURS = 8


def varied(pictures: Tensor, share: float) -> Tensor:
    """Pictures [B, 3, S, S] turned, moved, scaled, coloured a little; a share of them blurred."""
    seen = recoloured(moved(pictures))
    soft = torch.rand(len(pictures), device=pictures.device) < share
    # One blur for every eighth picture: as many small operations as a GPU can bear.
    for some in torch.arange(len(pictures), device=pictures.device).chunk(_BLURS):
        some = some[soft[some]]
        seen[some] = blurred(seen[some])
    return seen


def moved(pictures: Tensor) -> Tensor:
    """Each turned by up to 17 degrees, sheared by 15%, moved by 8% of its side, made 30% smaller to
    10% larger on white, and up to 10% darker and 20% greyer."""
    count, device = len(pictures), pictures.device
    angle, shear, scale, x, y, dark, grey = (
        low + (high - low) * torch.rand(count, device=device)
        for low, high in (
            (-0.3, 0.3), (-0.15, 0.15), (0.7, 1.1), (-0.16, 0.16), (-0.16, 0.16),
            (0.0, 0.1), (0.0, 0.2),
        )
    )  # fmt: skip
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    turn = torch.stack([cosine, shear - sine, x, sine, cosine, y], 1).view(count, 2, 3)
    grid = F.affine_grid(turn, list(pictures.shape), align_corners=False)
    turned = F.grid_sample(pictures - 1, grid, align_corners=False) + 1
    faded = torch.lerp(turned, turned.mean(1, keepdim=True), grey.view(-1, 1, 1, 1))
    return torch.lerp(faded, -torch.ones_like(faded), dark.view(-1, 1, 1, 1))


def recoloured(pictures: Tensor) -> Tensor:
    """Pictures [B, 3, S, S]; each takes up to 15% more or less of every colour away from white."""
    gain = 0.85 + 0.3 * torch.rand(len(pictures), 3, 1, 1, device=pictures.device)
    return ((pictures - 1) * gain + 1).clamp(min=-1)


def blurred(pictures: Tensor) -> Tensor:
    """Pictures [B, 3, S, S] made smaller and large again, their colours a little off."""
    side = pictures.shape[-1]
    small = int(torch.randint(max(4, side // 6), max(5, side // 2), ()))
    soft = F.interpolate(
        F.interpolate(pictures, size=(small, small), mode="area"),
        size=(side, side), mode="bicubic",
    )  # fmt: skip
    gain = 0.85 + 0.25 * torch.rand(len(pictures), 3, 1, 1, device=pictures.device)
    return ((soft - 1) * gain + 1).clamp(-1, 1)


def erased(pictures: Tensor, share: float) -> Tensor:
    """Pictures [B, 3, S, S], a share of them with a square of a fifth to half of the side white.

    Z. Zhong et al. 2020, Random Erasing Data Augmentation.
    """
    if not share:
        return pictures
    count, device, side = len(pictures), pictures.device, pictures.shape[-1]
    size, x, y, chance = torch.rand(4, count, 1, 1, device=device)
    half = side * (0.1 + 0.15 * size)
    steps = torch.arange(side, device=device)
    inside = ((steps[:, None] - side * y).abs() < half) & ((steps - side * x).abs() < half)
    return pictures.masked_fill((inside & (chance < share))[:, None], 1.0)
