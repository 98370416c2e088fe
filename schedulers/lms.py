"""LMS that may start in the middle of its walk."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler


class LMSScheduler(LMSDiscreteScheduler):
    """diffusers' linear multistep solver, its order growing with the slopes that it has seen.

    diffusers takes the order from the position in the walk, and so weighs slopes that it has not
    where a picture to picture starts in the middle.
    """

    def step(
        self,
        model_output: torch.Tensor,
        timestep: Any,
        sample: torch.Tensor,
        order: int = 4,
        return_dict: bool = True,
    ) -> Any:
        """The latents one model call later; ``order`` slopes at most."""
        order = min(order, len(self.derivatives) + 1)
        return super().step(model_output, timestep, sample, order, return_dict)
