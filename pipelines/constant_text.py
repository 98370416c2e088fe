"""Keys and values of the text, computed once: cross-attention asks for them at every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn import Module

from studio.pipelines.overriding import Override

_TEXTS = 4  # a step asks about one or two: with the negative prompt, or without


@dataclass(frozen=True, eq=False)
class ConstantText:
    """What each projection says of the texts last asked about, told apart by identity.

    Args:
        answers: for each text [B, T, D], by its id, the text and [B, T, D'] of each projection.
    """

    answers: dict[int, tuple[Tensor, dict[Module, Tensor]]] = field(default_factory=dict)

    def layers(self, unet: Any) -> Iterator[Override]:
        """The U-Net's projections of text, for ``overriding``."""
        for attention in unet.modules():
            if getattr(attention, "is_cross_attention", False):
                for name in ("to_k", "to_v"):
                    layer = getattr(attention, name, None)
                    if isinstance(layer, Module):
                        yield layer, self.projected

    def projected(self, layer: Module, text: Tensor) -> Tensor:
        """``layer(text)``, from memory where it has been asked before."""
        if id(text) not in self.answers:
            if len(self.answers) >= _TEXTS:
                del self.answers[next(iter(self.answers))]
            self.answers[id(text)] = (text, {})
        said = self.answers[id(text)][1]
        if layer not in said:
            said[layer] = type(layer).forward(layer, text)
        return said[layer]

    def refill(self) -> None:
        """Answers anew, in place, once texts hold other values: CUDA graphs read them there."""
        for text, said in self.answers.values():
            for layer, answer in said.items():
                answer.copy_(type(layer).forward(layer, text))
