"""Convolutions on the CPU with weights that oneDNN has laid out for itself beforehand.

A plain convolution lays its weights out anew at every call. For small pictures that takes as long
as a third of the arithmetic. Channels lie last in between, as oneDNN likes them. Each output is the
same sum as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Conv2d, Module

from studio.pipelines.overriding import Override

_MOST_BYTES = 2**28  # of weights that are held twice; larger models have more pixels to a weight


@dataclass(frozen=True, eq=False)
class PackedConvolutions:
    """Keeps the layouts; make it anew when weights may have changed.

    Args:
        layouts: weights of a layer for inputs of a size, as oneDNN lays them out.
    """

    layouts: dict[tuple[Module, torch.Size], Tensor] = field(default_factory=dict)

    def layers(self, model: Any) -> Iterator[Override]:
        """The convolutions that gain by it, for ``overriding``: on the CPU, of smaller models."""
        backend: Any = torch.backends.mkldnn
        if not (backend.is_available() and hasattr(torch.ops.mkldnn, _REORDER)):
            return
        layers = [layer for layer in model.modules() if type(layer) is Conv2d]
        if sum(layer.weight.nbytes for layer in layers) > _MOST_BYTES:
            return
        for layer in layers:
            if layer.weight.device.type == "cpu" and not isinstance(layer.padding, str):
                yield layer, self.convolved

    def convolved(self, layer: Conv2d, x: Tensor) -> Tensor:
        """``layer(x)`` for x [B, C, h, w], channels last in memory."""
        x = x.contiguous(memory_format=torch.channels_last)
        plain = layer.padding_mode == "zeros" and x.dtype == layer.weight.dtype == torch.float32
        if not plain or layer.kernel_size == (1, 1):  # a matrix product, which packs by itself
            return Conv2d.forward(layer, x)
        shape: list[Any] = [layer.padding, layer.stride, layer.dilation, layer.groups]
        key = layer, x.shape  # oneDNN likes different layouts for different sizes
        if key not in self.layouts:
            reorder = getattr(torch.ops.mkldnn, _REORDER)
            self.layouts[key] = reorder(layer.weight, *shape, list(x.shape))
        output: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.layouts[key], layer.bias, *shape, "none", [], ""
        )
        return output


_REORDER = "_reorder_convolution_weight"
