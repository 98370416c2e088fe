"""DPM++ 2S a."""

from __future__ import annotations

import torch

from studio.schedulers.dpm2 import DPM2Scheduler
from studio.schedulers.two_stage import Interval, Noise, split, toward


class DPMPP2SAncestralScheduler(DPM2Scheduler):
    """Single-step DPM-Solver++(2S) to a lower noise level, then fresh noise up to the next one.

    Lu et al. 2022, "DPM-Solver++", algorithm 1 with the middle at half the log-SNR; the
    ancestral step as in k-diffusion. diffusers has only the deterministic one.
    """

    eta = 1.0

    def correct(
        self,
        x: torch.Tensor,
        denoised: torch.Tensor,  # noqa: ARG002
        middle: torch.Tensor,  # noqa: ARG002
        denoised_middle: torch.Tensor,
        interval: Interval,
        noise: Noise,
    ) -> torch.Tensor:
        down, up = split(*interval, self.eta)
        return toward(x, denoised_middle, down / interval[0]) + up * noise()
