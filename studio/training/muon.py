"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before each step.

Only for matrices inside a network; the first and last layer, norms and biases keep AdamW. Steps
are scaled to the size AdamW's have (Liu et al. 2025, Muon is Scalable for LLM Training), so that
one learning rate serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iteration drives all singular values towards one."""
SCALE = 0.2
"""Root mean square of an update of AdamW, as a share of its learning rate."""


def orthogonal(matrices: Tensor, iterations: int = 5, *, bf16: bool = False) -> Tensor:
    """The nearest matrices [B, m, n] with singular values near one, by Newton and Schulz's
    iteration, which bears the errors of bfloat16 (``bf16``)."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(torch.bfloat16 if bf16 else matrices.dtype)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def is_inner_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon suits a weight: a matrix (or convolution) that is neither first nor last."""
    return parameter.ndim >= 2 and not name.endswith(
        ("conv_in.weight", "conv_out.weight", "positional_embedding", "cls_token")
    )


class Muon(torch.optim.Optimizer):
    """Muon for matrices and convolutions [out, in, ...], with Nesterov's momentum and decoupled
    weight decay. Learning rates are those of AdamW.

    Args:
        bf16: see :func:`orthogonal`. GPUs are quicker so, CPUs that do not know bfloat16 are some
            hundred times slower.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        *,
        bf16: bool = False,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.bf16 = bf16

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient; ``closure`` is called for nothing else."""
        if closure is not None:
            with torch.enable_grad():
                closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}  # made orthogonal together
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault(parameter.flatten(1).shape, []).append(parameter)
            for parameters in alike.values():
                self._change(parameters, group)

    def _change(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        updates = []
        for parameter in parameters:
            gradient, state = parameter.grad, self.state[parameter]
            assert gradient is not None
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            held: Tensor = state["momentum"]
            held.lerp_(gradient, 1 - group["momentum"])
            updates.append(gradient.lerp(held, group["momentum"]).flatten(1))
        scale = SCALE * max(updates[0].shape) ** 0.5
        directions = orthogonal(torch.stack(updates), bf16=self.bf16)
        for parameter, update in zip(parameters, directions, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.view_as(parameter), alpha=-group["lr"] * scale)
