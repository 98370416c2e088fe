"""An upscaler's U-Net over large pictures, in overlapping tiles.

Predictions of tiles are blended at every step (Bar-Tal et al. 2023, MultiDiffusion), so that
neighbours go on from the same latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from studio.pipelines.tiling import over_tiles
from studio.pipelines.vae_tiling import shared_statistics

_EDGE, _OVERLAP = 256, 64  # latents: what is larger is denoised in tiles


@dataclass(frozen=True, eq=False)
class TiledUNet:
    """A U-Net that is told the noise level.

    Args:
        unet: diffusers' UNet2DConditionModel, or what is called like one.
        level: noise on the small picture, None = the U-Net is told none.
    """

    unet: Any
    level: int | None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unet, name)

    def __call__(self, x: Tensor, t: Tensor, **options: Any) -> tuple[Tensor]:
        if self.level is not None:
            options["class_labels"] = torch.full((len(x),), self.level, device=x.device)

        def run(tile: Tensor) -> Tensor:
            output: Tensor = self.unet(tile, t, **options)[0]
            return output

        if max(x.shape[-2:]) <= _EDGE:
            return (run(x),)
        over = partial(over_tiles, run, x, edge=_EDGE, overlap=_OVERLAP, scale=1)
        with shared_statistics(self.unet, over):
            return (over().to(x),)
