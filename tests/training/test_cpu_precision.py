"""bfloat16 on CPUs: the same answers as in single precision, gradients where weights are held."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from studio.training.cpu_precision import in_bfloat16, speed_up_small_maps


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 4, 3, stride=2, padding=1), nn.Conv2d(4, 2, 1)
    ).double()


@pytest.mark.parametrize("side", [4, 8])
def test_the_quicker_gradient_is_the_same(side: int) -> None:
    plain = convolutions()
    quick = copy.deepcopy(plain)
    speed_up_small_maps(quick)
    assert [type(layer) is nn.Conv2d for layer in quick] == [False, True, True]
    maps = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    gradients = [
        torch.autograd.grad(model(maps).square().sum(), [maps, *model.parameters()])
        for model in (plain, quick)
    ]
    torch.testing.assert_close(*gradients)


def test_its_gradient_agrees_with_differences() -> None:
    quick = convolutions()[:1]
    speed_up_small_maps(quick)
    maps = torch.randn(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(quick, maps)


def test_weights_stay_single_and_get_gradients() -> None:
    model = convolutions().float()
    maps, times = torch.randn(2, 3, 8, 8), torch.tensor([1, 2])
    torch.testing.assert_close(in_bfloat16(model, maps).float(), model(maps), atol=0.03, rtol=0.03)
    in_bfloat16(model, maps).float().square().sum().backward()
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())
    assert in_bfloat16(nn.Identity(), times).dtype == torch.int64
