"""Training on a CPU with matrix units: whole weights are cast to bfloat16, small maps and attention
get another gradient.

Autocast leaves the weights of norms in single precision, and PyTorch's group norm of mixed types
takes ten times as long as one of bfloat16 alone; casting every weight once a step avoids it, and
the optimizer still holds them in single precision.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

SMALL = 4
"""Edge of the largest map whose weight gradient is quicker as a convolution."""


def in_bfloat16(module: nn.Module, *inputs: Tensor) -> Any:
    """``module(*inputs)`` with weights and floating inputs in bfloat16; gradients reach the
    weights as they are held."""
    weights = {name: weight.bfloat16() for name, weight in module.named_parameters()}
    cast = tuple(value.bfloat16() if value.is_floating_point() else value for value in inputs)
    with torch.autocast("cpu", enabled=False):
        return torch.func.functional_call(module, weights, cast)


def called(module: nn.Module, *inputs: Tensor, bf16: bool) -> Any:
    """``module(*inputs)``; where ``bf16`` is asked for on a CPU, :func:`in_bfloat16` (autocast sees
    to it elsewhere)."""
    if bf16 and inputs[0].device.type == "cpu":
        return in_bfloat16(module, *inputs)
    return module(*inputs)


def plain_attention(device: torch.device) -> AbstractContextManager[None]:
    """Where attention is trained. On a CPU it is written out: in bfloat16 the gradient of PyTorch's
    fused one would take up to half of a step there."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


class _SmallMapConvolution(torch.autograd.Function):
    """3x3 convolution of a small map, padded by one. The gradient of its weight is written as a
    convolution too: of the maps, by the output's gradient, summed over the batch."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(maps, weight)
        return F.conv2d(maps, weight, bias, padding=1)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (gradient,) = outer
        maps, weight = ctx.saved_tensors
        of_maps = F.conv2d(gradient, weight.transpose(0, 1).flip(2, 3), padding=1)
        of_weight = F.conv2d(maps.transpose(0, 1), gradient.transpose(0, 1), padding=1)
        return of_maps, of_weight.transpose(0, 1), gradient.sum((0, 2, 3))


class _Convolution(nn.Conv2d):
    """A 3x3 convolution with stride and padding one that treats small maps apart."""

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[-1] > SMALL or not torch.is_grad_enabled():
            return super().forward(input)
        maps: Tensor = _SmallMapConvolution.apply(input, self.weight, self.bias)
        return maps


def speed_up_small_maps(module: nn.Module) -> None:
    """Let the 3x3 convolutions in ``module`` use the quicker gradient on small maps."""
    for child in module.modules():
        if (
            type(child) is nn.Conv2d
            and child.kernel_size == (3, 3)
            and child.stride == child.padding == (1, 1)
            and child.bias is not None
        ):
            child.__class__ = _Convolution
