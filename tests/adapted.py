"""Pictures of ours and of diffusers' by the same tiny model, to compare to the last digits."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from studio.pipelines import stages
from studio.pipelines.components import Components, load
from studio.pipelines.drawing import draw
from studio.pipelines.inputs import Sources
from studio.pipelines.placement import Runtime
from tests.tiny import tiny_requests
from tests.tiny_families import tiny_folder

PROMPT, NEGATIVE = "a red apple", "blue"
_SETTINGS: dict[str, dict[str, Any]] = {"sd1": {"requires_safety_checker": False}, "sdxl": {}}
PIPELINES = {"sd1": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}


@cache
def model(family: str, memory: str = "high") -> Components:
    """A tiny model on the CPU, one for all tests of the run."""
    return load(str(tiny_folder(family)), Runtime(device="cpu", memory=memory))


def their_pipeline(family: str, **parts: Any) -> Any:
    """diffusers' pipeline with the same weights, new each time: LoRAs leave marks on it."""
    pristine = _pristine(family)
    copied = {name: copy.deepcopy(part) for name, part in pristine.components.items()}
    pipeline = type(pristine)(**{**copied, **parts}, **_SETTINGS[family])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@cache
def _pristine(family: str) -> Any:
    pipeline: Any = getattr(diffusers, PIPELINES[family]).from_pretrained(tiny_folder(family))
    euler: Any = diffusers.EulerDiscreteScheduler  # which has no types
    pipeline.scheduler = euler.from_config(pipeline.scheduler.config)
    return pipeline


def theirs(pipeline: Any, **settings: Any) -> Tensor:
    """A picture [1, 3, 64, 64] in [0, 1] of diffusers' pipeline."""
    usual = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "guidance_scale": 4.0}
    usual |= {"num_inference_steps": 3, "width": 64, "height": 64, "output_type": "pt"}
    images = pipeline(generator=torch.Generator().manual_seed(5), **{**usual, **settings}).images
    return torch.as_tensor(images)


def ours(components: Components, **fields: Any) -> Tensor:
    """The same of ours, taken just before it is rounded to 8 bits."""
    pictures: list[Tensor] = []
    to_pil = stages.to_pil

    def spy(picture: Tensor) -> Any:
        pictures.append(picture)
        return to_pil(picture)

    usual = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "width": 64, "height": 64}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stages, "to_pil", spy)
        list(draw(components, tiny_requests(**{**usual, **fields}), Sources()))
    return (torch.stack(pictures) / 2 + 0.5).clamp(0, 1)


def same(drawn: Tensor, expected: Tensor) -> None:
    """Equal within 1e-4, and no grey pictures."""
    assert expected.std() > 0.05, "a grey picture proves nothing"
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=0)


def own_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes ``folder`` the place of the user's own files, and returns it."""
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_: folder)
    return folder
