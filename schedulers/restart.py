"""Restart sampling."""

from __future__ import annotations

from collections.abc import Sequence

from studio.schedulers.heun import HeunScheduler
from studio.schedulers.spacings import karras
from studio.schedulers.two_stage import Interval

LOW, HIGH = 0.1, 2.0


class RestartScheduler(HeunScheduler):
    """Heun that, once at sigma near 0.1, goes back to sigma 2 with fresh noise and down again.

    Xu et al. 2023, "Restart sampling for improving generative processes". The restarts are
    part of the steps asked for, as in A1111: one of 9 steps from 20 steps on, two of a quarter of
    the steps each from 36 on, none below (which is plain Heun).
    """

    def restarts(self, steps: int) -> tuple[int, int]:
        """(how often, steps each)."""
        if steps >= 36:
            return 2, steps // 4
        return (1, 9) if steps >= 20 else (0, 0)

    def main_steps(self, steps: int) -> int:
        often, each = self.restarts(steps)
        return steps - often * each

    def intervals(self, sigmas: Sequence[float]) -> list[Interval]:
        walk = super().intervals(sigmas)
        often, each = self.restarts(self.num_inference_steps)
        if not often:
            return walk
        low = min(range(1, len(sigmas) - 1), key=lambda i: abs(sigmas[i] - LOW))
        again = [float(sigma) for sigma in karras(each + 1, sigmas[low], HIGH)]
        return walk[:low] + often * super().intervals(again) + walk[low:]
