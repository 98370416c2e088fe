"""The noise levels of a model, read from its scheduler configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from studio.schedulers.compatibility import zero_terminal_snr
from studio.schedulers.spacings import NoiseTable

# Stands for alpha_bar = 0 at zero terminal SNR, so that sigma stays finite (4096). It is the
# value of diffusers' Euler scheduler.
NO_SIGNAL = 2.0**-24

_BETAS = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")


def alphas_cumprod(config: Mapping[str, Any], *, rescaled: bool = True) -> torch.Tensor:
    """alpha_bar of each training timestep, descending, never 0, [T].

    Args:
        config: the model's scheduler configuration.
        rescaled: False ignores ``rescale_betas_zero_snr``.
    """
    zero_snr = rescaled and zero_terminal_snr(config)
    known = {name: config[name] for name in _BETAS if config.get(name) is not None}
    alpha_bar: torch.Tensor = DDPMScheduler(
        **known, rescale_betas_zero_snr=zero_snr
    ).alphas_cumprod.clone()
    if zero_snr:
        alpha_bar[-1] = NO_SIGNAL
    return alpha_bar


def betas(config: Mapping[str, Any]) -> list[float]:
    """Betas that give :func:`alphas_cumprod`, for schedulers that know no zero terminal SNR."""
    alpha_bar = alphas_cumprod(config).to(torch.float64)
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    return [float(beta) for beta in 1 - alpha_bar / before]


def noise_table(config: Mapping[str, Any]) -> NoiseTable:
    """The noise levels that spacings choose from."""
    sigmas = _sigmas(alphas_cumprod(config))
    return NoiseTable(sigmas, top=float(_sigmas(alphas_cumprod(config, rescaled=False))[-1]))


def _sigmas(alpha_bar: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    exact = alpha_bar.to(torch.float64).numpy()
    return np.asarray(np.sqrt((1 - exact) / exact))
