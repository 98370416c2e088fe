"""Heun's method for the probability-flow ODE."""

from __future__ import annotations

import torch

from studio.schedulers.two_stage import Interval, Noise, TwoStageScheduler, toward


class HeunScheduler(TwoStageScheduler):
    """Predictor and corrector in sigma (Karras et al. 2022, algorithm 1 without churn).

    diffusers has it too, but only for its own spacings and without zero terminal SNR.
    """

    def middle(self, sigma: float, sigma_next: float) -> float:  # noqa: ARG002
        return sigma_next

    def predict(
        self,
        x: torch.Tensor,
        denoised: torch.Tensor,
        interval: Interval,
        noise: Noise,  # noqa: ARG002
    ) -> torch.Tensor:
        return toward(x, denoised, interval[1] / interval[0])

    def correct(
        self,
        x: torch.Tensor,
        denoised: torch.Tensor,
        middle: torch.Tensor,
        denoised_middle: torch.Tensor,
        interval: Interval,
        noise: Noise,  # noqa: ARG002
    ) -> torch.Tensor:
        sigma, sigma_next = interval
        slope = (x - denoised) / sigma + (middle - denoised_middle) / sigma_next
        return x + slope / 2 * (sigma_next - sigma)
