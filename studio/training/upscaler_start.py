"""Where the upscaler's U-Net starts: at the best linear filter, so that it learns the rest only."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from studio.training.models import Unet

_CONSTANT = 10.0  # outweighs the colours in their normalisation groups
_MEAN_SQUARE = 0.5  # of colours in [-1, 1]
_USED = 12  # channels: for each colour plus and minus the constant, plus and minus the colour


@torch.no_grad()
def start_linear(unet: Unet, small: Tensor, latents: Tensor) -> None:
    """Make a fresh U-Net predict, from noise alone, what a 3 x 3 linear filter of the small
    picture can tell of the latents.

    Normalisation and activation forget a colour's level; learning to carry it through would take
    most of the training. So one group a colour holds a large constant and the colour with both
    signs: the constant keeps the normalisation linear, and ``silu(x) - silu(-x) = x``.

    Args:
        unet: as :func:`studio.training.upscaler.build` makes it, four channels a group at least
            in its first level.
        small: [N, 3, h, w] in [-1, 1].
        latents: [N, C, h, w], scaled as the U-Net sees them.
    """
    filters, bias = _fitted(small, latents)
    carry, skip = unet.up_blocks[-1].resnets[-1], unet.config.block_out_channels[0]
    for tensor in (unet.conv_in.weight, unet.conv_in.bias, carry.conv_shortcut.weight,
                   carry.conv_shortcut.bias, carry.conv2.weight, carry.conv2.bias):  # fmt: skip
        tensor[:_USED] = 0
    for channel in range(_USED):  # what conv_in saw arrives at the last convolution unchanged
        carry.conv_shortcut.weight[channel, skip + channel] = 1
    norm = unet.conv_norm_out
    norm.weight[:_USED] = ((_CONSTANT**2 + _MEAN_SQUARE) / 2 + norm.eps) ** 0.5
    unet.conv_out.weight.zero_()
    unet.conv_out.bias[:] = -bias  # from noise alone, velocity is minus the latents
    for colour in range(3):
        first = 4 * colour
        seen = latents.shape[1] + colour
        unet.conv_in.bias[first], unet.conv_in.bias[first + 1] = _CONSTANT, -_CONSTANT
        unet.conv_in.weight[first + 2, seen, 1, 1] = 1
        unet.conv_in.weight[first + 3, seen, 1, 1] = -1
        unet.conv_out.weight[:, first + 2] = -filters[:, colour]
        unet.conv_out.weight[:, first + 3] = filters[:, colour]


def _fitted(small: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
    """The least-squares filters [C, 3, 3, 3] and bias [C] from small picture to latents."""
    seen = F.unfold(small, 3).transpose(1, 2).reshape(-1, 27).double()
    wanted = latents[:, :, 1:-1, 1:-1].permute(0, 2, 3, 1).reshape(-1, latents.shape[1]).double()
    seen = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)
    square = seen.T @ seen / len(seen)
    square += 1e-5 * torch.eye(28, dtype=square.dtype, device=square.device)
    solved = torch.linalg.solve(square, seen.T @ wanted / len(seen)).float()
    return solved[:27].T.reshape(-1, 3, 3, 3), solved[27]
