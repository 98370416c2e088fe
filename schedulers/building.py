"""From a name to a diffusers scheduler, ready to walk.

With the schedule Automatic a sampler that diffusers has is exactly diffusers' scheduler, made by
``from_config(scheduler_config, **options)`` and ``set_timesteps(steps)``. Everything that diffusers
would do wrongly without saying so is decided here: explicit spacings, zero terminal SNR in
schedulers that do not know it, and combinations that have no right answer.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch

from studio.errors import RequestError
from studio.schedulers import catalogue, compatibility
from studio.schedulers.catalogue import AUTOMATIC, Sampler
from studio.schedulers.compatibility import zero_terminal_snr
from studio.schedulers.noise import betas, noise_table
from studio.schedulers.spacings import IN_TIME, Array, levels
from studio.schedulers.stepping import Scheduler
from studio.schedulers.two_stage import TwoStageScheduler

# diffusers' schedulers that take each step to be training steps // steps, even where the distance
# to the next timestep is another: with "trailing" at 80 steps the picture keeps part of its noise.
_STRIDING = ("DDIMScheduler", "PNDMScheduler")


def build(
    sampler: str,
    schedule: str,
    steps: int,
    scheduler_config: Mapping[str, Any],
    device: str | torch.device = "cpu",
) -> Scheduler:
    """A scheduler with its timesteps set.

    Args:
        sampler: any name of a sampler.
        schedule: any name of a schedule.
        steps: number of steps, at least 1.
        scheduler_config: the model's ``scheduler/scheduler_config.json``.
        device: where the timesteps shall lie.

    Raises:
        RequestError: an unknown name, or a combination of sampler, schedule, number of steps and
            model that has no right answer.
    """
    sampler, schedule = catalogue.resolve(sampler, schedule)
    row = catalogue.sampler(sampler)
    config = dict(scheduler_config)
    compatibility.check(sampler, steps, config)
    with warnings.catch_warnings():
        # diffusers hands tensors to numpy in a way that numpy 2 deprecates
        warnings.filterwarnings("ignore", "__array", DeprecationWarning)
        scheduler: Scheduler = _build(row, schedule, steps, config, device)
    fault = _fault(scheduler, steps)
    if fault:
        others = ", ".join(name for name in row.spacings if name != schedule)
        raise RequestError(
            "steps",
            steps,
            f"{sampler} with {schedule} cannot work: {fault}",
            valid=f"fewer steps, a divisor of the training steps, or a schedule of {others}",
        )
    return scheduler


def _build(row: Sampler, schedule: str, steps: int, config: dict[str, Any], device: Any) -> Any:
    if schedule == AUTOMATIC and _does(row, config):
        scheduler = _native(row, steps, config, device)
        if not _fault(scheduler, steps):
            return scheduler
    if row.distilled or "PNDM" in row.scheduler:
        return _in_whole_timesteps(row, schedule, steps, config, device)
    return _in_sigmas(row, schedule, steps, config, device)


def _does(row: Sampler, config: Mapping[str, Any]) -> bool:
    """Whether ``row.scheduler`` itself does what this model needs."""
    if not row.explicit:
        return True
    if config.get("prediction_type", "epsilon") not in row.predictions:
        return False
    return not zero_terminal_snr(config) or _knows(_load(row.scheduler), "rescale_betas_zero_snr")


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _knows(kind: Any, option: str) -> bool:
    return option in inspect.signature(kind.__init__).parameters


def _make(kind: Any, config: dict[str, Any], options: Mapping[str, Any]) -> Any:
    if zero_terminal_snr(config) and not _knows(kind, "rescale_betas_zero_snr"):
        config = {**config, "trained_betas": betas(config), "rescale_betas_zero_snr": False}
    # diffusers ignores what a class does not know, but complains about some of it
    known = {name: value for name, value in config.items() if name[0] == "_" or _knows(kind, name)}
    return kind.from_config(known, **options)


def _native(row: Sampler, steps: int, config: dict[str, Any], device: Any) -> Any:
    scheduler = _make(_load(row.scheduler), config, row.options)
    try:
        scheduler.set_timesteps(steps, device=device)
    except ValueError as error:
        raise RequestError("steps", steps, f"{row.name}: {error}", valid="fewer steps") from error
    return scheduler


def _in_whole_timesteps(
    row: Sampler, schedule: str, steps: int, config: dict[str, Any], device: Any
) -> Any:
    """For solvers that step between training timesteps, not between noise levels."""
    if schedule == "DDIM Uniform":
        config = {**config, "timestep_spacing": "leading", "steps_offset": 1}
    scheduler = _native(row, steps, config, device)
    if row.distilled and schedule in IN_TIME:
        last = int(scheduler.config.num_train_timesteps) - 1
        timesteps = np.round(IN_TIME[schedule](steps, last)).astype(np.int64)
        scheduler.timesteps = torch.from_numpy(timesteps).to(device)
        scheduler.custom_timesteps = True
    return scheduler


def _in_sigmas(row: Sampler, schedule: str, steps: int, config: dict[str, Any], device: Any) -> Any:
    """For solvers that step between any noise levels."""
    options = row.explicit_options if row.explicit else row.options
    scheduler = _make(_load(row.explicit or row.scheduler), config, options)
    table = noise_table(config)
    if isinstance(scheduler, TwoStageScheduler):
        sigmas = levels(schedule, scheduler.main_steps(steps), table, config)
        scheduler.set_timesteps(steps, device=device, sigmas=[float(sigma) for sigma in sigmas])
        return scheduler
    scheduler.set_timesteps(steps)
    sigmas = levels(schedule, steps, table, config)
    sigmas[-1] = row.final_sigma
    _walk(scheduler, sigmas, table.timestep(sigmas[:-1]), device)
    return scheduler


def _walk(scheduler: Any, sigmas: Array, timesteps: Array, device: Any) -> None:
    scheduler.sigmas = torch.from_numpy(sigmas).to(torch.float32)
    scheduler.timesteps = torch.from_numpy(timesteps).to(device=device, dtype=torch.float32)
    scheduler.num_inference_steps = len(timesteps)


def _fault(scheduler: Any, steps: int) -> str:
    """Why a walk would give a wrong answer; empty where each step goes down as it should."""
    if isinstance(scheduler, TwoStageScheduler):
        visited = scheduler.sigmas
    else:
        visited = torch.unique_consecutive(getattr(scheduler, "sigmas", scheduler.timesteps))
        timesteps = torch.unique(scheduler.timesteps)
        if len(timesteps) < steps or timesteps[-1] >= len(scheduler.alphas_cumprod):
            return "it would visit a timestep twice or leave the model's"
    if not torch.isfinite(visited).all() or not (visited[1:] < visited[:-1]).all():
        return "its noise levels would not fall from step to step"
    if type(scheduler).__name__ in _STRIDING and steps > 1:
        whole = scheduler.config.num_train_timesteps // steps * (steps - 1)
        true = int(scheduler.timesteps[0] - scheduler.timesteps[-1])
        if abs(whole - true) > 0.02 * true:
            return "it steps in whole strides, which do not fit the model's own timesteps here"
    return ""
