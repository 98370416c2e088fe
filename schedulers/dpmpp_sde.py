"""DPM++ SDE."""

from __future__ import annotations

import math

import torch

from studio.schedulers.two_stage import Interval, Noise, TwoStageScheduler, split, toward


class DPMPPSDEScheduler(TwoStageScheduler):
    """Single-step DPM-Solver++ of the reverse SDE, the middle at half the log-SNR.

    Lu et al. 2022, "DPM-Solver++", section 5. diffusers' version draws its noise from a Brownian
    tree seeded once for the whole batch; here each image's path comes from its own generator. The
    noise of the whole interval continues that of its first half: the integral of the noise over
    (sigma, s) is s^2 M(s), with M a Brownian motion of variance s^-2 - sigma^-2.
    """

    eta = 1.0

    def middle(self, sigma: float, sigma_next: float) -> float:
        return math.sqrt(sigma * sigma_next)

    def predict(
        self, x: torch.Tensor, denoised: torch.Tensor, interval: Interval, noise: Noise
    ) -> torch.Tensor:
        sigma, middle = interval[0], self.middle(*interval)
        down, _ = split(sigma, middle, self.eta)
        self._path = (middle**-2 - sigma**-2) ** 0.5 * noise()
        return torch.add(toward(x, denoised, down / sigma), self._path, alpha=middle**2)

    def correct(
        self,
        x: torch.Tensor,
        denoised: torch.Tensor,  # noqa: ARG002
        middle: torch.Tensor,  # noqa: ARG002
        denoised_middle: torch.Tensor,
        interval: Interval,
        noise: Noise,
    ) -> torch.Tensor:
        sigma, sigma_next = interval
        down, _ = split(sigma, sigma_next, self.eta)
        rest = (sigma_next**-2 - self.middle(*interval) ** -2) ** 0.5 * noise()
        x = toward(x, denoised_middle, down / sigma)
        return torch.add(x, self._path + rest, alpha=sigma_next**2)
