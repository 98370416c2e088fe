"""Starting a walk in the middle: where, and with how much noise.

A walk of N steps at strength s leaves out its first N - floor(N s) steps, as diffusers' pipelines
do; latents join it with the noise of the first step that is left (SDEdit,
https://arxiv.org/abs/2108.01073).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_sasolver import SASolverScheduler
from torch import Tensor

from studio.schedulers.stepping import Scheduler
from studio.schedulers.two_stage import TwoStageScheduler


def begin(scheduler: Scheduler, steps: int, strength: float) -> int:
    """The index in ``scheduler.timesteps`` to start at; tells the scheduler, too.

    Args:
        scheduler: built for ``steps`` steps, not walked yet.
        steps: as asked for; a step may take several timesteps.
        strength: share of the steps to walk, in [0, 1].

    Returns:
        0 for the whole walk, the number of timesteps where no step is left.
    """
    skipped = steps - int(steps * strength)
    if skipped == steps:
        return len(scheduler.timesteps)
    if isinstance(scheduler, TwoStageScheduler):
        index: int = scheduler.step_starts[skipped]
    else:
        index = skipped * int(getattr(scheduler, "order", 1))
    if isinstance(scheduler, PNDMScheduler):
        _repeat_second(scheduler, skipped)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(index)
    return index


def noised(scheduler: Scheduler, clean: Tensor, unit: Tensor, index: int) -> Tensor:
    """Latents [B, C, h, w] at the noise level of ``timesteps[index]``.

    Args:
        scheduler: about to make the step at ``index``, which :func:`begin` gave or follows it.
        clean: latents [B, C, h, w] without noise.
        unit: noise [B, C, h, w] of variance 1.
        index: less than the number of timesteps.
    """
    noisy: Tensor
    middles = getattr(scheduler, "sigmas_interpol", None)
    if isinstance(scheduler, SASolverScheduler):  # its own looks the level up by whole timestep
        sigma = scheduler.sigmas[index].to(clean)
        noisy = (clean + sigma * unit) * (sigma**2 + 1) ** -0.5
    elif middles is not None and not getattr(scheduler, "state_in_first_order", True):
        # diffusers' DPM2 in the middle of a step; its own gives the level of the step's end
        late = int(hasattr(scheduler, "sigmas_down"))
        noisy = clean + middles[index - late].to(clean) * unit
    else:
        noisy = scheduler.add_noise(clean, unit, scheduler.timesteps[index : index + 1])
    return noisy


def _repeat_second(scheduler: Any, skipped: int) -> None:
    """Lets PLMS warm up where it starts.

    It takes its first step twice, so the second timestep of a walk stands in ``timesteps`` twice.
    diffusers cuts into that list and then runs one step behind its own labels.
    """
    plain = torch.unique(scheduler.timesteps).flip(0)
    scheduler.timesteps = torch.cat([plain[: skipped + 2], plain[skipped + 1 :]])
