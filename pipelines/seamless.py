"""Seamless pictures: every convolution sees the opposite edge beyond an edge, as on a torus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from torch import Tensor
from torch.nn import Conv2d, Module

_CIRCULAR: Final = "circular"


@contextmanager
def circular(*models: Module) -> Iterator[None]:
    """Within, the models' convolutions wrap around; afterwards they pad as before.

    What the models draw then tiles a plane without seams, and to roll their input rolls their
    output, up to rounding, as long as the roll is a multiple of their strides.

    Args:
        models: U-Net and VAE in diffusers' layout.
    """
    with ExitStack() as stack:
        for model in models:
            for layer in model.modules():
                if isinstance(layer, Conv2d) and any(map(int, layer.padding)):
                    stack.callback(setattr, layer, "padding_mode", layer.padding_mode)
                    layer.padding_mode = _CIRCULAR
                elif _pads_by_itself(layer):
                    handle = layer.conv.register_forward_pre_hook(_wrapped)  # type: ignore
                    stack.callback(handle.remove)
        yield


def is_circular(model: Module) -> bool:
    """Whether a model is within :func:`circular` now."""
    layers = (layer for layer in model.modules() if isinstance(layer, Conv2d))
    return any(layer.padding_mode == _CIRCULAR for layer in layers)


def _pads_by_itself(layer: Any) -> bool:
    """diffusers' Downsample2D in an encoder adds a row and a column of zeros by itself."""
    return type(layer).__name__ == "Downsample2D" and layer.use_conv and layer.padding == 0


def _wrapped(_: Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    padded = inputs[0].clone()
    padded[..., -1, :] = padded[..., 0, :]
    padded[..., :, -1] = padded[..., :, 0]
    return (padded, *inputs[1:])
