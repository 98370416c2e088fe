"""The model while it draws: the same numbers in less time.

Everything is put on for one walk and taken off after it; weights are never touched. What is exact
here stays within rounding of diffusers' modules (docs/speed.md has the measurements).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch

from studio.pipelines.constant_text import ConstantText
from studio.pipelines.fast_blocks import FastBlocks
from studio.pipelines.graphs import graphs_of
from studio.pipelines.overriding import overriding
from studio.pipelines.packed_convolutions import PackedConvolutions


@contextmanager
def accelerated(model: Any) -> Iterator[None]:
    """Within, a U-Net or VAE of diffusers draws faster.

    Weights must not change within. Where gradients are wanted, nothing is done.
    """
    if torch.is_grad_enabled() or not hasattr(model, "modules"):
        yield
        return
    graphs = graphs_of(model)
    usual = PackedConvolutions(), FastBlocks(), ConstantText()
    kinds = usual if graphs is None else (graphs,)
    with overriding(chain.from_iterable(kind.layers(model) for kind in kinds)):
        yield
