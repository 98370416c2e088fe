"""Other ways to compute a layer's output, for a while: how speed-ups are put on and off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch.nn import Module

Override = tuple[Module, Callable[..., Any]]
"""A layer, and what is called in place of its forward: ``function(layer, *inputs)``."""

_FORWARD = "forward"


def overridden(layer: Module) -> bool:
    """Whether something has taken over a layer's forward: this module, or an offload hook."""
    return _FORWARD in layer.__dict__


@contextmanager
def overriding(overrides: Iterable[Override]) -> Iterator[None]:
    """Within, each layer computes ``function(layer, *inputs)``; afterwards it is as it was.

    A layer whose forward something else has taken over already (an offload hook) is left to it.
    """
    taken: list[Override] = []
    try:
        for layer, function in overrides:
            if not overridden(layer):
                taken.append((layer, partial(function, layer)))
                layer.forward = taken[-1][1]
        yield
    finally:
        for layer, forward in taken:
            if layer.__dict__.get(_FORWARD) is forward:
                del layer.__dict__[_FORWARD]
