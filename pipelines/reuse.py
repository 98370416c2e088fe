"""DeepCache: steps between that draw with the deep blocks of the step before.

What the lower resolutions see changes little from one step to the next. On the steps between, only
the first and the last blocks, at full resolution, compute anew (Ma et al. 2023,
https://arxiv.org/abs/2312.00858). An approximation: docs/speed.md has its error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from studio.pipelines.overriding import Override, overriding

Predict = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(eq=False)
class Reuse:
    """The deep blocks' answers of one walk.

    Args:
        every: steps that share them, 1 = each step its own.
    """

    every: int
    _fresh: bool = True
    _calls: Counter[Module] = field(default_factory=Counter)
    _answers: dict[tuple[Module, int], tuple[torch.Size, Any]] = field(default_factory=dict)

    @contextmanager
    def within(self, unet: Any) -> Iterator[None]:
        """The U-Net's deep blocks answer from memory on the steps between."""
        with overriding(self._layers(unet) if self.every > 1 else ()):
            yield

    def counting(self, predict: Predict, begin: int) -> Predict:
        """A denoiser that says which step of a walk from ``begin`` it is at."""

        def counted(x: Tensor, t: Tensor, index: int) -> Tensor:
            self._fresh = (index - begin) % self.every == 0
            self._calls.clear()
            return predict(x, t, index)

        return counted

    def _layers(self, unet: Any) -> Iterator[Override]:
        blocks = [*unet.down_blocks[1:], unet.mid_block, *unet.up_blocks[:-1]]
        yield from ((block, self._answered) for block in blocks if block is not None)

    def _answered(self, block: Module, *inputs: Any, **options: Any) -> Any:
        # A step may ask several times: for each picture, or for each tile.
        key = block, self._calls[block]
        self._calls[block] += 1
        shape = (inputs[0] if inputs else options["hidden_states"]).shape
        known = self._answers.get(key)
        if self._fresh or known is None or known[0] != shape:  # guidance may have begun or ended
            known = self._answers[key] = shape, type(block).forward(block, *inputs, **options)
        return known[1]
