from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from studio.errors import UnavailableError
from studio.pipelines import attention
from tests.tiny import tiny_model

CPU = ("cpu", torch.float32)
HERE = [name for name in attention.available(*CPU) if name != "auto"]


@pytest.fixture
def model() -> Iterator[Any]:
    components = tiny_model()
    yield components
    attention.apply("sdpa", components.unet, components.vae)


def test_the_plain_backends_run_everywhere() -> None:
    assert {"sdpa", "sliced", "eager"} <= set(HERE)


@pytest.mark.parametrize("name", HERE)
@torch.inference_mode()
def test_every_backend_computes_the_same(name: str, model: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    x, embeds = (torch.randn(s, generator=draw) for s in [(2, 4, 16, 16), (2, 16, 32)])

    def outputs() -> tuple[torch.Tensor, torch.Tensor]:
        return model.unet(x, 300, encoder_hidden_states=embeds).sample, model.vae.decode(x).sample

    expected = outputs()
    attention.apply(name, model.unet, model.vae)
    for ours, plain in zip(outputs(), expected, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"), [("auto", "sdpa"), ("native", "sdpa"), ("vanilla", "eager")]
)
def test_names_resolve(name: str, expected: str) -> None:
    assert attention.resolve(name, *CPU) == expected


@pytest.mark.parametrize("name", ["xformers", "efficient", "cudnn"])
def test_what_cannot_run_here_says_why_and_what_can(name: str) -> None:
    with pytest.raises(UnavailableError, match=f"{name}.*cannot run on cpu") as caught:
        attention.resolve(name, *CPU)
    assert set(caught.value.valid.split(", ")) == {"auto", *HERE}


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnavailableError, match="Did you mean 'xformers'"):
        attention.resolve("xformer", *CPU)
