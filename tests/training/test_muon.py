"""Muon: orthogonal updates, which weights they suit, and that it learns."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from studio.training.loop import optimizers
from studio.training.muon import Muon, is_inner_matrix, orthogonal
from studio.training.recipe import LoopRecipe
from studio.training.unet import UnetShape, build


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("shape", [(24, 24), (16, 90), (90, 16)])
def test_an_update_keeps_the_directions_and_levels_the_singular_values(
    shape: tuple[int, int], bf16: bool
) -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    values = torch.linspace(1, 20, min(shape))
    turned = left.mT @ orthogonal((left * values @ right)[None], bf16=bf16)[0] @ right.mT
    assert turned.diagonal().min() > 0.6
    assert turned.diagonal().max() < 1.25
    torch.testing.assert_close(turned, turned.diagonal().diag(), atol=0.03, rtol=0)


def test_the_first_step_has_the_size_of_one_of_adamw() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.zeros(64, 32, 3, 3))
    weight.grad = torch.randn_like(weight)
    Muon([weight], lr=0.01).step()
    assert weight.detach().square().mean().sqrt() == pytest.approx(0.2 * 0.01, rel=0.25)


def test_matrices_of_one_shape_change_as_if_each_were_alone() -> None:
    torch.manual_seed(0)
    gradients = [torch.randn(8, 4, 3, 3), 5 * torch.randn(8, 4, 3, 3), torch.randn(8, 36)]

    def changed(some: list[torch.Tensor]) -> list[torch.Tensor]:
        weights = [nn.Parameter(torch.zeros_like(one)) for one in some]
        for weight, gradient in zip(weights, some, strict=True):
            weight.grad = gradient
        Muon(weights, lr=0.01).step()
        return [weight.detach() for weight in weights]

    together = changed(gradients)
    for one, gradient in zip(together, gradients, strict=True):
        torch.testing.assert_close(one, changed([gradient])[0], atol=2e-5, rtol=0.02)


def test_it_learns_a_linear_map() -> None:
    torch.manual_seed(0)
    goal, layer = torch.randn(8, 12), nn.Linear(12, 8, bias=False)
    optimizer = Muon(layer.parameters(), lr=0.2)
    for step in range(200):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 200)
        loss = (layer.weight - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert loss < 0.01


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_bfloat16_only_where_it_is_asked_for(precision: Literal["no", "bf16"]) -> None:
    recipe = LoopRecipe(steps=1, batch_size=1, learning_rate=0.1, muon=True, precision=precision)
    _, muon = optimizers(nn.Linear(3, 3), recipe)
    assert isinstance(muon, Muon)
    assert muon.bf16 == (precision == "bf16")


def test_inner_matrices_only() -> None:
    unet = build(UnetShape(channels=(32, 32)), torch.Size((4, 8, 8)), text_width=32)
    inner = {name for name, weight in unet.named_parameters() if is_inner_matrix(name, weight)}
    assert "down_blocks.0.resnets.0.conv1.weight" in inner
    assert "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight" in inner
    assert not any("norm" in name or name.endswith("bias") for name in inner)
    assert not inner & {"conv_in.weight", "conv_out.weight"}
    recipe = LoopRecipe(steps=1, batch_size=1, learning_rate=0.1, muon=True)
    counts = [
        sum(len(group["params"]) for group in optimizer.param_groups)
        for optimizer in optimizers(unet, recipe)
    ]
    assert counts == [len(list(unet.parameters())) - len(inner), len(inner)]
