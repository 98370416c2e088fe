"""What building promises: exactly diffusers where diffusers is right, refusals where nothing is."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from studio.errors import RequestError
from studio.schedulers.catalogue import build, sampler, samplers
from studio.schedulers.stepping import denoised, step
from tests.schedulers.analytic import SD, ZERO_SNR

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

EXACT = {
    "Euler": (diffusers.EulerDiscreteScheduler, {}),
    "Euler a": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "Heun": (diffusers.HeunDiscreteScheduler, {}),
    "DPM2": (diffusers.KDPM2DiscreteScheduler, {}),
    "DPM2 a": (diffusers.KDPM2AncestralDiscreteScheduler, {}),
    "LMS": (diffusers.LMSDiscreteScheduler, {}),
    "DPM++ 2M": (diffusers.DPMSolverMultistepScheduler, {}),
    "DPM++ 2M SDE": (diffusers.DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "DDIM": (diffusers.DDIMScheduler, {}),
    "DDPM": (diffusers.DDPMScheduler, {}),
    "PLMS": (diffusers.PNDMScheduler, {}),
    "UniPC": (diffusers.UniPCMultistepScheduler, {}),
    "DEIS": (diffusers.DEISMultistepScheduler, {}),
    "SA-Solver": (diffusers.SASolverScheduler, {}),
}
KNOW_ZERO_SNR = ("Euler", "Euler a", "DPM++ 2M", "DPM++ 2M SDE", "DDIM", "DDPM", "UniPC")


def drawn(scheduler: Any, ours: bool) -> torch.Tensor:
    """A walk with a made-up model, by our stepping or by diffusers' own loop."""
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    latents = latents * scheduler.init_noise_sigma
    generator = torch.Generator().manual_seed(2)
    for t in scheduler.timesteps:
        output = torch.tanh(scheduler.scale_model_input(latents, t) + t / 1000)
        if ours:
            latents = step(scheduler, output, t, latents, [generator])
        else:
            try:
                stepped = scheduler.step(output, t, latents, generator=generator)
            except TypeError:
                stepped = scheduler.step(output, t, latents)
            latents = stepped.prev_sample
    return latents


@pytest.mark.parametrize(
    ("name", "config"),
    [(name, SD) for name in EXACT] + [(name, ZERO_SNR) for name in KNOW_ZERO_SNR],
)
def test_automatic_is_exactly_diffusers(name: str, config: dict[str, Any]) -> None:
    kind, options = EXACT[name]
    theirs = kind.from_config(config, **options)
    theirs.set_timesteps(7)
    ours = build(name, "Automatic", 7, config)
    assert isinstance(ours, kind)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    assert torch.equal(drawn(ours, ours=True), drawn(theirs, ours=False))


def test_our_two_stage_solvers_equal_diffusers_own() -> None:
    sample = {**SD, "timestep_spacing": "trailing"}
    for name in ("Heun", "DPM2"):
        theirs = build(name, "Automatic", 6, sample)
        ours = build(name, "Trailing", 6, sample)
        assert type(ours) is not type(theirs)
        assert torch.allclose(drawn(ours, True), drawn(theirs, True), atol=1e-4)


@pytest.mark.parametrize("row", samplers(), ids=lambda row: row.name)
def test_epsilon_from_pure_noise_is_refused(row: Any) -> None:
    with pytest.raises(RequestError, match=r"zero terminal SNR.*Valid.*v_prediction"):
        build(row.name, "Automatic", 10, {**ZERO_SNR, "prediction_type": "epsilon"})


def test_a_prediction_type_that_a_sampler_cannot_take_is_refused_by_name() -> None:
    config = {**SD, "prediction_type": "sample"}
    with pytest.raises(RequestError, match=r"PLMS.*sample.*Valid.*Euler") as refusal:
        build("PLMS", "Automatic", 10, config)
    assert "PLMS" not in refusal.value.args[0].split("Valid")[1]
    with pytest.raises(RequestError, match="unknown prediction type"):
        build("Euler", "Automatic", 10, {**SD, "prediction_type": "score"})


@pytest.mark.parametrize(
    ("name", "schedule", "steps"),
    [("Euler", "Automatic", 0), ("Euler", "Karras", 1001), ("LCM", "Automatic", 60)],
)
def test_impossible_numbers_of_steps_are_refused(name: str, schedule: str, steps: int) -> None:
    with pytest.raises(RequestError) as refusal:
        build(name, schedule, steps, SD)
    assert refusal.value.field == "steps"


def test_whole_strides_that_do_not_fit_are_replaced_or_refused() -> None:
    """diffusers' DDIM at 80 trailing steps strides by 12 where the timesteps lie 12.5 apart."""
    assert isinstance(build("DDIM", "Automatic", 50, ZERO_SNR), diffusers.DDIMScheduler)
    assert not isinstance(build("DDIM", "Automatic", 80, ZERO_SNR), diffusers.DDIMScheduler)
    with pytest.raises(RequestError, match=r"PLMS.*strides.*DDIM Uniform"):
        build("PLMS", "Automatic", 80, ZERO_SNR)


def test_diffusers_repeated_timesteps_are_not_walked() -> None:
    scheduler = build("DPM++ 2M", "Automatic", 1000, {**SD, "timestep_spacing": "linspace"})
    assert len(torch.unique(scheduler.timesteps)) == 1000


@pytest.mark.parametrize("steps", [1, 2, 3, 13])
def test_few_and_odd_numbers_of_steps(steps: int) -> None:
    for row in samplers():
        scheduler = build(row.name, "Automatic", steps, ZERO_SNR)
        assert torch.isfinite(drawn(scheduler, True)).all(), row.name
        assert len(scheduler.timesteps) <= steps * row.evaluations + 1


def test_the_preview_sees_the_clean_picture() -> None:
    clean, noise = torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2)
    for prediction in ("epsilon", "v_prediction", "sample"):
        scheduler = build("Euler", "Automatic", 10, {**SD, "prediction_type": prediction})
        t = scheduler.timesteps[4]
        alpha = scheduler.alphas_cumprod[int(t)] ** 0.5
        sigma = (1 - alpha**2) ** 0.5
        output = {"epsilon": noise, "v_prediction": alpha * noise - sigma * clean, "sample": clean}
        scheduler.set_begin_index(4)  # type: ignore[attr-defined]
        seen = denoised(scheduler, output[prediction], t, clean + sigma / alpha * noise)
        assert torch.allclose(seen, clean, atol=1e-5)


def test_aliases_build_too() -> None:
    scheduler = build("dpmpp_2m", "karras", 5, SD)
    assert torch.equal(scheduler.timesteps, build("DPM++ 2M", "Karras", 5, SD).timesteps)
    assert sampler("DPM++ 2M").order == 2
