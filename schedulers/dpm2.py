"""DPM2 and DPM2 a: the midpoint method in sigma, the middle at the geometric mean."""

from __future__ import annotations

import math

import torch

from studio.schedulers.two_stage import Interval, Noise, TwoStageScheduler, split, toward


class DPM2Scheduler(TwoStageScheduler):
    """Midpoint solver after DPM-Solver-2 (Lu et al. 2022; Karras et al. 2022, algorithm 2).

    diffusers has it too, but only for its own spacings, without zero terminal SNR and without
    sample prediction.
    """

    def middle(self, sigma: float, sigma_next: float) -> float:
        down, _ = split(sigma, sigma_next, self.eta)
        return math.sqrt(sigma * down)

    def predict(
        self,
        x: torch.Tensor,
        denoised: torch.Tensor,
        interval: Interval,
        noise: Noise,  # noqa: ARG002
    ) -> torch.Tensor:
        return toward(x, denoised, self.middle(*interval) / interval[0])

    def correct(
        self,
        x: torch.Tensor,
        denoised: torch.Tensor,  # noqa: ARG002
        middle: torch.Tensor,
        denoised_middle: torch.Tensor,
        interval: Interval,
        noise: Noise,
    ) -> torch.Tensor:
        down, up = split(*interval, self.eta)
        slope = (middle - denoised_middle) / self.middle(*interval)
        x = x + slope * (down - interval[0])
        return x + up * noise() if up > 0 else x


class DPM2AncestralScheduler(DPM2Scheduler):
    """DPM2 to a lower noise level, then fresh noise up to the next one."""

    eta = 1.0
