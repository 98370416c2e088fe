"""The scenes that the U-Net learns from, encoded once before training begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from studio.training.models import Vae
from studio.training.recipe import LoopRecipe
from studio.training.scenes import SceneMaker
from studio.training.vae import to_tensor
from studio.training.workers import made_ahead

_AT_A_TIME = 32


class Pool:
    """Scenes and their latents [N, C, h, w]; scene ``i`` comes from ``(seed, i)`` alone.

    Args:
        cache: file that keeps the latents; one of as many scenes is used as it is.
    """

    def __init__(
        self, maker: SceneMaker, vae: Vae, count: int, loop: LoopRecipe, cache: Path
    ) -> None:
        self.maker, self.seed = maker, loop.seed
        self.scenes = [maker.draw(np.random.default_rng((self.seed, i))) for i in range(count)]
        if not cache.is_file() or len(load_file(cache)["latents"]) != count:
            cache.parent.mkdir(parents=True, exist_ok=True)
            save_file({"latents": self._encoded(vae, loop)}, cache)
        self.latents = load_file(cache)["latents"]

    def pictures(self, start: int) -> Tensor:
        """Pictures of the scenes from one on: uint8 [B, S, S, 3]."""
        some = enumerate(self.scenes[start : start + _AT_A_TIME], start)
        drawn = [
            self.maker.picture(scene, np.random.default_rng((self.seed, i, 1))) for i, scene in some
        ]
        return torch.from_numpy(np.stack(drawn))

    def _encoded(self, vae: Vae, loop: LoopRecipe) -> Tensor:
        fast, parts = loop.precision == "bf16", list[Tensor]()
        starts = range(0, len(self.scenes), _AT_A_TIME)
        with torch.inference_mode(), torch.autocast(vae.device.type, torch.bfloat16, enabled=fast):
            for number, some in enumerate(made_ahead(self.pictures, starts, loop.workers)):
                encoded = vae.encode(to_tensor(some.to(vae.device))).latent_dist.mode()
                parts.append(encoded.half().cpu())
                if number % 100 == 0:
                    print(f"encoded {number * _AT_A_TIME}/{len(self.scenes)} scenes", flush=True)
        return torch.cat(parts).contiguous()
