"""What SDXL is told of sizes beside the text (https://arxiv.org/abs/2307.01952, section 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from studio.pipelines.components import Components

_AESTHETIC, _NOT_AESTHETIC = 6.0, 2.5  # of 10; what Stability's own pipeline asks for


def time_ids(components: Components, size: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
    """For the prompt and the negative prompt, [1, n] each; None where the model asks for none.

    The picture is said to have been as large as it is drawn, and not to be cropped. The refiner is
    told how beautiful it is to be in place of the size that is drawn.

    Args:
        components: the model.
        size: (width, height) of what is drawn, in pixels.
    """
    if getattr(components.unet.config, "addition_embed_type", None) != "text_time":
        return None
    width, height = size
    known: list[float] = [height, width, 0, 0]
    ends: tuple[list[float], list[float]] = ([height, width], [height, width])
    if components.requires_aesthetics_score:
        ends = ([_AESTHETIC], [_NOT_AESTHETIC])
    device = components.runtime.device
    positive, negative = (
        torch.tensor([[*known, *end]], dtype=torch.float32, device=device) for end in ends
    )
    return positive, negative
