"""Spacings: which noise levels a sampler visits.

A spacing maps (steps, table) to ``steps + 1`` noise levels sigma, strictly decreasing, the last 0.
sigma = sqrt(1 - alpha_bar) / sqrt(alpha_bar) is the noise over the signal; ``table[t]`` is sigma
at training timestep t (ascending). Between whole timesteps, log sigma is interpolated linearly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Optimised for Stable Diffusion 1.5 (Sabour et al. 2024, "Align Your Steps"), 10 steps.
ALIGN_YOUR_STEPS = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)


@dataclass(frozen=True)
class NoiseTable:
    """Noise levels that a model knows.

    Attributes:
        sigmas: sigma of each training timestep, ascending, [T].
        top: where spacings in sigma start. It equals ``sigmas[-1]``, but for a model with zero
            terminal SNR, whose last sigma stands for infinity: there the first step goes from
            the last sigma to ``top``, the highest sigma of the same schedule before rescaling.
    """

    sigmas: Array
    top: float

    @property
    def from_pure_noise(self) -> bool:
        """Whether the last sigma stands for infinity (zero terminal SNR)."""
        return self.top < float(self.sigmas[-1])

    def sigma(self, timesteps: Array) -> Array:
        """Sigma at (fractional) timesteps in [0, T - 1]."""
        whole = np.arange(len(self.sigmas))
        return np.exp(np.interp(timesteps, whole, np.log(self.sigmas)))

    def timestep(self, sigmas: Array) -> Array:
        """Fractional timestep of sigmas, clipped to [0, T - 1]; sigma 0 has timestep 0."""
        whole = np.arange(len(self.sigmas), dtype=np.float64)
        return np.interp(np.log(np.maximum(sigmas, 1e-10)), np.log(self.sigmas), whole)


def uniform(steps: int, last: int) -> Array:
    """Timesteps from ``last`` to 0, both included."""
    return np.linspace(last, 0, steps)


def sgm_uniform(steps: int, last: int) -> Array:
    """Timesteps from ``last`` on in ``steps`` equal strides; the final stride ends at 0."""
    return np.linspace(last, 0, steps + 1)[:-1]


def simple(steps: int, last: int) -> Array:
    """Whole timesteps, counted down from ``last`` in strides of T / steps."""
    return np.asarray(last - np.floor(np.arange(steps) * (last + 1) / steps))


def ddim_uniform(steps: int, last: int) -> Array:
    """Whole strides of T // steps counted up from timestep 1 ("leading")."""
    strides = np.arange(steps, dtype=np.float64)[::-1]
    return np.minimum(strides * ((last + 1) // steps) + 1, last)


def trailing(steps: int, last: int) -> Array:
    """Whole timesteps that end each of ``steps`` equal parts (Lin et al. 2023, table 2)."""
    return np.round((last + 1) * (1 - np.arange(steps) / steps)) - 1


def beta(steps: int, last: int) -> Array:
    """Quantiles of Beta(0.6, 0.6) over the timesteps (Lee et al. 2024)."""
    from scipy import stats  # type: ignore[import-untyped]

    ramp = 1 - np.linspace(0, 1, steps, endpoint=False)
    return np.asarray(stats.beta.ppf(ramp, 0.6, 0.6) * last, dtype=np.float64)


def karras(steps: int, low: float, high: float) -> Array:
    """Even in sigma^(1/7) (Karras et al. 2022, equation 5)."""
    ramp = np.linspace(0, 1, steps)
    return np.asarray((high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7)


def exponential(steps: int, low: float, high: float) -> Array:
    """Even in log sigma."""
    return np.exp(np.linspace(np.log(high), np.log(low), steps))


def kl_optimal(steps: int, low: float, high: float) -> Array:
    """Even in arctan sigma (Sabour et al. 2024, theorem 3.1)."""
    return np.tan(np.linspace(np.arctan(high), np.arctan(low), steps))


def align_your_steps(steps: int, low: float, high: float) -> Array:
    """The published levels, log-interpolated to ``steps`` and fitted to [low, high]."""
    known = np.log(ALIGN_YOUR_STEPS)
    place = np.linspace(0, 1, steps), np.linspace(0, 1, len(known))
    share = (np.interp(place[0], place[1], known) - known[-1]) / (known[0] - known[-1])
    return np.asarray(np.exp(np.log(low) + share * (np.log(high) - np.log(low))))


IN_TIME: Mapping[str, Callable[[int, int], Array]] = {
    "Uniform": uniform,
    "SGM Uniform": sgm_uniform,
    "Simple": simple,
    "DDIM Uniform": ddim_uniform,
    "Trailing": trailing,
    "Beta": beta,
}
IN_SIGMA: Mapping[str, Callable[[int, float, float], Array]] = {
    "Karras": karras,
    "Exponential": exponential,
    # k-diffusion's ramp to the power rho, whose default rho = 1 makes it the exponential one.
    "Polyexponential": exponential,
    "KL Optimal": kl_optimal,
    "Align Your Steps": align_your_steps,
}


def automatic(steps: int, last: int, config: Mapping[str, Any]) -> Array:
    """Timesteps by the model's own ``timestep_spacing`` ("linspace", "leading", "trailing")."""
    spacing = config.get("timestep_spacing", "leading")
    if spacing == "linspace":
        return uniform(steps, last)
    if spacing == "trailing":
        return trailing(steps, last)
    offset = int(config.get("steps_offset", 0))
    return np.arange(steps, dtype=np.float64)[::-1] * ((last + 1) // steps) + offset


def levels(schedule: str, steps: int, table: NoiseTable, config: Mapping[str, Any]) -> Array:
    """Noise levels of a schedule.

    Args:
        schedule: canonical name of a schedule.
        steps: number of steps, at least 1.
        table: the model's noise levels.
        config: the model's scheduler configuration (for Automatic).

    Returns:
        sigmas, strictly decreasing, the last one 0, [steps + 1].
    """
    last = len(table.sigmas) - 1
    if schedule in IN_SIGMA:
        low, start = float(table.sigmas[0]), float(table.sigmas[-1])
        if table.from_pure_noise:
            rest = IN_SIGMA[schedule](steps - 1, low, table.top) if steps > 1 else np.empty(0)
            visited = np.concatenate([[start], rest])
        else:
            visited = IN_SIGMA[schedule](steps, low, start)
    elif schedule in IN_TIME:
        visited = table.sigma(IN_TIME[schedule](steps, last))
    else:
        visited = table.sigma(automatic(steps, last, config))
    return np.append(visited, 0.0)
