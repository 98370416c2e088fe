"""Base of our schedulers, which call the model twice a step.

A subclass writes its paper's two half steps in a few lines; this class keeps time: noise levels,
timesteps, the state between the two calls, prediction types and per-image noise. Latents are in
variance-exploding form, x = x0 + sigma noise, as in diffusers' k-diffusion schedulers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import (
    KarrasDiffusionSchedulers,
    SchedulerMixin,
    SchedulerOutput,
)
from diffusers.utils.torch_utils import randn_tensor

from studio.schedulers.noise import alphas_cumprod, noise_table
from studio.schedulers.spacings import levels

Noise = Callable[[], torch.Tensor]
Interval = tuple[float, float]


def split(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """(sigma_down, sigma_up): where to step to, and the fresh noise added there.

    sigma_down^2 + sigma_up^2 = sigma_next^2. eta 0 adds none, eta 1 is the ancestral step.
    """
    up = eta * sigma_next * math.sqrt(max(sigma**2 - sigma_next**2, 0.0)) / sigma
    return math.sqrt(sigma_next**2 - up**2), up


def toward(x: torch.Tensor, denoised: torch.Tensor, ratio: float) -> torch.Tensor:
    """The exact step to ``ratio`` times the noise level, where ``denoised`` is constant."""
    return torch.lerp(denoised, x, ratio)


class TwoStageScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    """Walks intervals (sigma, sigma_next), each with a second model call at :meth:`middle`.

    An interval that starts at pure noise (zero terminal SNR) or ends at zero noise is one
    first-order step: there the second call would be ill-conditioned or has nothing to add.

    The arguments are those of diffusers' schedulers.
    """

    _compatibles: ClassVar[list[str]] = [  # type: ignore[misc]
        kind.name for kind in KarrasDiffusionSchedulers
    ]
    order = 2
    eta = 0.0  # share of ancestral noise

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,  # noqa: ARG002 (this and the rest: read from self.config)
        beta_end: float = 0.012,  # noqa: ARG002
        beta_schedule: str = "scaled_linear",  # noqa: ARG002
        trained_betas: list[float] | None = None,  # noqa: ARG002
        prediction_type: str = "epsilon",  # noqa: ARG002
        timestep_spacing: str = "leading",  # noqa: ARG002
        steps_offset: int = 0,  # noqa: ARG002
        rescale_betas_zero_snr: bool = False,  # noqa: ARG002
    ) -> None:
        self.noise_table = noise_table(self.config)
        self.alphas_cumprod = alphas_cumprod(self.config)
        self.set_timesteps(num_train_timesteps)

    def middle(self, sigma: float, sigma_next: float) -> float:
        """The noise level of the second model call."""
        raise NotImplementedError

    def predict(
        self, x: torch.Tensor, denoised: torch.Tensor, interval: Interval, noise: Noise
    ) -> torch.Tensor:
        """From ``interval[0]`` to the middle; ``noise()`` draws unit noise, image by image."""
        raise NotImplementedError

    def correct(
        self,
        x: torch.Tensor,
        denoised: torch.Tensor,
        middle: torch.Tensor,
        denoised_middle: torch.Tensor,
        interval: Interval,
        noise: Noise,
    ) -> torch.Tensor:
        """From ``interval[0]`` to ``interval[1]``, knowing the model's view of both points."""
        raise NotImplementedError

    def main_steps(self, steps: int) -> int:
        """How many of ``steps`` intervals the spacing divides (all, but for Restart)."""
        return steps

    def intervals(self, sigmas: Sequence[float]) -> list[Interval]:
        """The intervals to walk. Where one starts above the end of the last, noise is added."""
        return list(pairwise(sigmas))

    def set_timesteps(
        self,
        num_inference_steps: int,
        device: str | torch.device | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Prepare a walk.

        Args:
            num_inference_steps: number of intervals.
            device: where ``timesteps`` shall lie.
            sigmas: explicit noise levels, strictly decreasing, the last 0; None takes the
                configuration's ``timestep_spacing``.
        """
        self.num_inference_steps = num_inference_steps
        if sigmas is None:
            steps = self.main_steps(num_inference_steps)
            sigmas = [float(s) for s in levels("Automatic", steps, self.noise_table, self.config)]
        self.sigmas = torch.tensor(sigmas, dtype=torch.float32)
        self._calls: list[tuple[Interval, int]] = []
        visited: list[float] = []
        for sigma, sigma_next in self.intervals(sigmas):
            self._calls.append(((sigma, sigma_next), 0))
            visited.append(sigma)
            if not self._leaps(sigma, sigma_next):
                self._calls.append(((sigma, sigma_next), 1))
                visited.append(self.middle(sigma, sigma_next))
        self._visited = visited
        timesteps = self.noise_table.timestep(np.array(visited))
        self.timesteps = torch.from_numpy(timesteps).to(device=device, dtype=torch.float32)
        self._first: tuple[torch.Tensor, torch.Tensor] | None = None
        self._step_index: int | None = None
        self._begin_index: int | None = None

    @property
    def step_index(self) -> int | None:
        """Index in ``timesteps`` of the model call that is due, None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Index in ``timesteps`` where the walk starts, None for where the first call says."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Start the walk at ``timesteps[begin_index]`` (picture to picture)."""
        self._begin_index = begin_index

    @property
    def step_starts(self) -> list[int]:
        """Index in ``timesteps`` of the first model call of each interval."""
        return [index for index, (_, stage) in enumerate(self._calls) if stage == 0]

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the first latents, as diffusers scales them."""
        top = float(self.sigmas.max())
        if self.config["timestep_spacing"] in ("linspace", "trailing"):
            return top
        return float((top**2 + 1) ** 0.5)

    def scale_model_input(self, sample: torch.Tensor, timestep: Any) -> torch.Tensor:
        """The latents at unit variance, as the model knows them."""
        sigma = self._visited[self._index(timestep)]
        return torch.mul(sample, (sigma**2 + 1) ** -0.5)

    def step(
        self,
        model_output: torch.Tensor,
        timestep: Any,
        sample: torch.Tensor,
        generator: list[torch.Generator] | torch.Generator | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[torch.Tensor]:
        """The latents one model call later, as diffusers' schedulers do it.

        Args:
            model_output: what the model predicted, [B, C, H, W].
            timestep: the element of ``timesteps`` that is due.
            sample: current latents, [B, C, H, W].
            generator: one generator an image.
            return_dict: False returns a tuple.
        """
        index = self._index(timestep)
        interval, stage = self._calls[index]
        x = sample.to(torch.float32)
        denoised = self._denoised(model_output.to(torch.float32), x, self._visited[index])

        def noise() -> torch.Tensor:
            drawn: torch.Tensor = randn_tensor(
                x.shape, generator=generator, device=x.device, dtype=x.dtype
            )
            return drawn

        if self._leaps(*interval):
            x = self._leap(x, denoised, interval, noise)
        elif stage == 0:
            self._first = x, denoised
            x = self.predict(x, denoised, interval, noise)
        else:
            if self._first is None:
                raise ValueError("the second call of a step came without its first")
            x = self.correct(*self._first, x, denoised, interval, noise)
            self._first = None
        if self._first is None and index + 1 < len(self._calls):
            jump = self._calls[index + 1][0][0] ** 2 - interval[1] ** 2
            if jump > 0:
                x = x + jump**0.5 * noise()
        self._step_index = index + 1
        x = x.to(model_output.dtype)
        return SchedulerOutput(prev_sample=x) if return_dict else (x,)

    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """Latents at the noise levels of ``timesteps`` [B], from clean ones [B, C, H, W]."""
        sigmas = self.noise_table.sigma(timesteps.detach().cpu().to(torch.float64).numpy())
        scale = torch.from_numpy(sigmas).to(original_samples).reshape(-1, 1, 1, 1)
        return original_samples + scale * noise

    def __len__(self) -> int:
        return int(self.config["num_train_timesteps"])

    def _leaps(self, sigma: float, sigma_next: float) -> bool:
        pure = self.noise_table.from_pure_noise and sigma >= self.noise_table.sigmas[-1]
        return sigma_next == 0 or bool(pure)

    def _leap(
        self, x: torch.Tensor, denoised: torch.Tensor, interval: Interval, noise: Noise
    ) -> torch.Tensor:
        down, up = split(*interval, self.eta)
        x = toward(x, denoised, down / interval[0])
        return x + up * noise() if up > 0 else x

    def _index(self, timestep: Any) -> int:
        if self._step_index is None:
            if self._begin_index is None:
                found = (self.timesteps == torch.as_tensor(timestep).to(self.timesteps)).nonzero()
                self._step_index = int(found[0])
            else:
                self._step_index = self._begin_index
        return self._step_index

    def _denoised(self, output: torch.Tensor, x: torch.Tensor, sigma: float) -> torch.Tensor:
        kind = self.config["prediction_type"]
        if kind == "sample":
            return output
        if kind == "v_prediction":
            alpha = 1 / math.hypot(1, sigma)
            return torch.sub(x * alpha**2, output * sigma * alpha)
        return torch.sub(x, output, alpha=sigma)
