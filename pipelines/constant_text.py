"""Keys and values of the text, computed once: cross-attention asks for them at every step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.nn import Module

from studio.pipelines.overriding import Override


@dataclass(frozen=True, eq=False)
class ConstantText:
    """What each projection says of the texts last asked about, told apart by identity.

    Args:
        texts: how many are kept, the last asked about; a step asks about one or two. 0 = only those
            that :meth:`know` was told of, for good.
        answers: for each text [B, T, D], by its id, the text and [B, T, D'] of each projection.
    """

    texts: int = 4
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
            if not self.texts:
                return self._asked(layer, text)
            if len(self.answers) >= self.texts:
                del self.answers[next(iter(self.answers))]
            self.know(text)
        said = self.answers[id(text)][1]
        if layer not in said:
            said[layer] = self._asked(layer, text)
        return said[layer]

    def know(self, text: Tensor) -> None:
        """Keeps what is said of this tensor from now on."""
        self.answers.setdefault(id(text), (text, {}))

    def refill(self, only: Tensor | None = None) -> None:
        """Answers anew, in place, once texts or weights hold other values.

        CUDA graphs read them there. ``only``: the text that has changed, None = all of them.
        """
        for text, said in self.answers.values():
            if only is None or text is only:
                for layer, answer in said.items():
                    answer.copy_(self._asked(layer, text))

    @staticmethod
    def _asked(layer: Module, text: Tensor) -> Tensor:
        answer: Tensor = type(layer).forward(layer, text)
        return answer
