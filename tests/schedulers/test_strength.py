from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from studio.schedulers import catalogue, strength
from studio.schedulers.catalogue import Sampler
from studio.schedulers.noise import noise_table
from studio.schedulers.stepping import Scheduler, step
from tests.tiny import scheduler_config

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

PICTURE = 0.7
STEPS = 24


def build(row: Sampler, schedule: str, **config: Any) -> Scheduler:
    return catalogue.build(row.name, schedule, STEPS, {**scheduler_config(), **config})


def deviations(scheduler: Scheduler, share: float, *, hold: bool = False) -> list[float]:
    """Of the noise that a denoiser that knows the picture finds before each step; 1 is right.

    Args:
        scheduler: of a model that predicts epsilon.
        share: strength.
        hold: puts fresh latents of the noise level that is due in place of the sampler's.
    """
    shape = (1, 4, 48, 48)
    generator = torch.Generator().manual_seed(0)
    unit, clean = torch.randn(shape, generator=generator), torch.full(shape, PICTURE)
    sigmas = noise_table(scheduler.config)
    begin = strength.begin(scheduler, STEPS, share)
    x, found = strength.noised(scheduler, clean, unit, begin), []
    for index in range(begin, len(scheduler.timesteps)):
        t = scheduler.timesteps[index]
        sigma = float(sigmas.sigma(t.double().numpy()))
        alpha = (1 + sigma**2) ** -0.5
        seen = scheduler.scale_model_input(x, t)
        epsilon: Tensor = (seen - alpha * clean) / (alpha * sigma)
        found.append(float(epsilon.std()))
        x = step(scheduler, epsilon, t, x, [generator])
        if hold and index + 1 < len(scheduler.timesteps):
            x = strength.noised(scheduler, clean, unit, index + 1)
    assert (x - clean).std() < 0.06  # leading timesteps leave a little noise
    return found


ROWS = [row for row in catalogue.samplers() if not row.distilled]


@pytest.mark.parametrize("schedule", ["Automatic", "Karras"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_noise_is_what_the_timestep_says_all_the_way(row: Sampler, schedule: str) -> None:
    if schedule not in row.spacings:
        schedule = row.spacings[-1]
    found = deviations(build(row, schedule), 0.5)
    assert len(found) >= STEPS // 2
    assert found == pytest.approx([1.0] * len(found), abs=0.06)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_held_latents_have_the_noise_of_the_next_timestep(row: Sampler) -> None:
    found = deviations(build(row, "Automatic"), 0.75, hold=True)
    assert found == pytest.approx([1.0] * len(found), abs=0.06)


@pytest.mark.parametrize(("share", "left"), [(0.0, 0), (0.04, 0), (0.5, 12), (0.99, 23), (1.0, 24)])
def test_strength_is_the_share_of_the_steps_that_are_walked(share: float, left: int) -> None:
    scheduler = build(catalogue.sampler("Euler"), "Automatic")
    assert strength.begin(scheduler, STEPS, share) == STEPS - left


def test_zero_terminal_snr_steps_of_two_calls_are_counted_right() -> None:
    config = scheduler_config("v_prediction", zero_snr=True)
    scheduler = catalogue.build("Heun", "Automatic", 4, config)
    first, second = (float(t) for t in scheduler.timesteps[:2])
    assert (first, second) == (999.0, 749.0)  # one call from pure noise, then two a step
    assert strength.begin(scheduler, 4, 0.75) == 1
    assert strength.begin(scheduler, 4, 0.5) == 3
