"""Where one model hands a walk over to the next, as SDXL's base does to its refiner.

The base takes the steps that begin above a share of the training time, the refiner the others
(https://arxiv.org/abs/2307.01952, section 2.5).
"""

from __future__ import annotations

from diffusers.schedulers.scheduling_pndm import PNDMScheduler

from studio.schedulers import strength
from studio.schedulers.stepping import Scheduler
from studio.schedulers.two_stage import TwoStageScheduler


def steps_before(scheduler: Scheduler, steps: int, share: float) -> int:
    """How many steps come before the hand-over.

    Args:
        scheduler: built for ``steps`` steps, not walked yet.
        steps: as asked for.
        share: of the training time, from pure noise on, in [0, 1].
    """
    trained = int(scheduler.config.num_train_timesteps)
    last = round(trained - share * trained)
    starts = _step_starts(scheduler, steps)
    late = (i for i, start in enumerate(starts) if scheduler.timesteps[start] < last)
    return next(late, steps)


def end(scheduler: Scheduler, steps: int, done: int) -> int:
    """Index in ``scheduler.timesteps`` after the last evaluation of the first ``done`` steps."""
    return [*_step_starts(scheduler, steps), len(scheduler.timesteps)][done]


def resume(scheduler: Scheduler, steps: int, done: int) -> int:
    """The index at which a fresh scheduler goes on after ``done`` steps; tells it, too."""
    return strength.begin(scheduler, steps, (steps - done + 0.5) / steps)


def _step_starts(scheduler: Scheduler, steps: int) -> list[int]:
    if isinstance(scheduler, TwoStageScheduler):
        return list(scheduler.step_starts)[:steps]
    order = int(getattr(scheduler, "order", 1))
    # PLMS evaluates its second timestep twice.
    late = isinstance(scheduler, PNDMScheduler) and len(scheduler.timesteps) > steps
    return [i * order + int(late and i > 0) for i in range(steps)]
