"""Spacings visit falling noise levels between the model's own ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from studio.schedulers.catalogue import schedules
from studio.schedulers.noise import alphas_cumprod, betas, noise_table
from studio.schedulers.spacings import ALIGN_YOUR_STEPS, levels
from tests.schedulers.analytic import SD, ZERO_SNR

NAMES = [row.name for row in schedules()]
TABLES = {"ordinary": SD, "zero terminal SNR": ZERO_SNR}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", TABLES)
@pytest.mark.parametrize("steps", [1, 2, 7, 20, 50, 250])
def test_levels_fall_to_zero_within_what_the_model_knows(name: str, model: str, steps: int) -> None:
    table = noise_table(TABLES[model])
    visited = levels(name, steps, table, TABLES[model])
    assert visited.shape == (steps + 1,)
    assert np.isfinite(visited).all()
    assert (np.diff(visited) < 0).all()
    assert visited[-1] == 0
    assert visited[0] <= table.sigmas[-1] * (1 + 1e-9)
    assert visited[-2] >= table.sigmas[0] * (1 - 1e-9)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in ("Automatic", "DDIM Uniform")]
)
@pytest.mark.parametrize("model", TABLES)
def test_the_first_level_is_the_noisiest(name: str, model: str) -> None:
    table = noise_table(TABLES[model])
    assert levels(name, 12, table, TABLES[model])[0] == pytest.approx(table.sigmas[-1])


def test_spacings_in_sigma_leave_pure_noise_in_one_step() -> None:
    table = noise_table(ZERO_SNR)
    ordinary = noise_table(SD)
    assert table.from_pure_noise
    assert not ordinary.from_pure_noise
    assert levels("Karras", 20, table, ZERO_SNR)[1] == pytest.approx(ordinary.sigmas[-1])


def test_known_values() -> None:
    table = noise_table(SD)
    low, high = table.sigmas[0], table.sigmas[-1]
    karras = levels("Karras", 3, table, SD)
    assert karras[1] ** (1 / 7) == pytest.approx((low ** (1 / 7) + high ** (1 / 7)) / 2)
    assert levels("Exponential", 3, table, SD)[1] == pytest.approx((low * high) ** 0.5)
    assert np.arctan(levels("KL Optimal", 3, table, SD)[1]) == pytest.approx(
        (np.arctan(low) + np.arctan(high)) / 2
    )
    assert levels("Align Your Steps", 11, table, SD)[:-1] == pytest.approx(
        ALIGN_YOUR_STEPS, rel=0.01
    )
    time: Any = {"SGM Uniform": [999, 749.25, 499.5, 249.75], "Trailing": [999, 749, 499, 249]}
    time |= {"Simple": [999, 749, 499, 249], "DDIM Uniform": [751, 501, 251, 1]}
    time |= {"Uniform": [999, 666, 333, 0]}
    for name, expected in time.items():
        assert table.timestep(levels(name, 4, table, SD)[:-1]) == pytest.approx(expected, abs=1e-6)


def test_timesteps_and_sigmas_are_inverse() -> None:
    table = noise_table(ZERO_SNR)
    timesteps = np.array([0, 0.25, 499.5, 998, 999.0])
    assert table.timestep(table.sigma(timesteps)) == pytest.approx(timesteps)


def test_betas_of_zero_terminal_snr_give_the_same_noise_levels() -> None:
    rebuilt = np.cumprod(1 - np.array(betas(ZERO_SNR)))
    assert rebuilt == pytest.approx(alphas_cumprod(ZERO_SNR).numpy(), rel=1e-5)
    assert rebuilt[-1] > 0
