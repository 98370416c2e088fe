"""diffusers' residual and attention blocks without what they do for nothing at inference.

They write over what nobody reads again, do not divide by one, and ask for query, key and value in
one product. The plain layers inside are called as ever, so what hooks onto them goes on working.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor
from torch.nn import Linear, Module, SiLU, functional

from studio.pipelines.overriding import Override


@dataclass(frozen=True, eq=False)
class FastBlocks:
    """Keeps the joint weights; make it anew when weights may have changed.

    Args:
        joint: weights of query, key and value of self-attention below each other, [3 D, D].
    """

    joint: dict[Module, Tensor] = field(default_factory=dict)

    def layers(self, model: Any) -> Iterator[Override]:
        """The blocks that are of the usual kind, for ``overriding``."""
        for block in model.modules():
            if type(block) is ResnetBlock2D and _usual_resnet(block):
                yield block, residual
            elif type(block) is Attention and _usual_attention(block):
                yield block, self.attended

    def attended(
        self,
        block: Any,
        x: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """``block(x, ...)`` for x [B, N, D] and text [B, T, D'], None = x attends to itself."""
        usual = type(block.processor) is AttnProcessor2_0 and x.ndim == 3
        if attention_mask is not None or options or not usual:
            output: Tensor = Attention.forward(
                block, x, encoder_hidden_states, attention_mask, **options
            )
            return output
        if encoder_hidden_states is not None:
            query = block.to_q(x)
            key, value = block.to_k(encoder_hidden_states), block.to_v(encoder_hidden_states)
        elif all(_bare(layer) for layer in (block.to_q, block.to_k, block.to_v)):
            query, key, value = functional.linear(x, self._joint(block)).chunk(3, dim=-1)
        else:
            query, key, value = block.to_q(x), block.to_k(x), block.to_v(x)
        heads = (t.unflatten(-1, (block.heads, -1)).transpose(1, 2) for t in (query, key, value))
        mixed = functional.scaled_dot_product_attention(*heads)
        result: Tensor = block.to_out[0](mixed.transpose(1, 2).flatten(2))
        return result

    def _joint(self, block: Any) -> Tensor:
        if block not in self.joint:
            weights = (block.to_q.weight, block.to_k.weight, block.to_v.weight)
            self.joint[block] = torch.cat(weights)
        return self.joint[block]

    def refill(self) -> None:
        """Joins anew, in place, once weights hold other values: CUDA graphs read them there."""
        for block, weight in self.joint.items():
            parts: Any = block
            torch.cat((parts.to_q.weight, parts.to_k.weight, parts.to_v.weight), out=weight)


def residual(block: Any, x: Tensor, temb: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    """``block(x, temb)`` for x [B, C, h, w] and the time [B, D]."""
    h: Tensor = block.conv1(functional.silu(block.norm1(x), inplace=True))
    if temb is not None and block.time_emb_proj is not None:
        h += block.time_emb_proj(functional.silu(temb))[:, :, None, None]
    h = functional.silu(block.norm2(h), inplace=True)
    h = block.conv2(h)
    h += x if block.conv_shortcut is None else block.conv_shortcut(x)
    return h if block.output_scale_factor == 1 else h.div_(block.output_scale_factor)


def _usual_resnet(block: Any) -> bool:
    return (
        block.time_embedding_norm == "default"
        and isinstance(block.nonlinearity, SiLU)
        and not (block.upsample or block.downsample or block.skip_time_act or block.training)
    )


def _usual_attention(block: Any) -> bool:
    special = ("spatial_norm", "group_norm", "norm_cross", "norm_q", "norm_k", "added_kv_proj_dim")
    return (
        type(block.processor) is AttnProcessor2_0
        and not any(getattr(block, name, None) for name in special)
        and not (block.residual_connection or block.training)
        and block.rescale_output_factor == 1
    )


def _bare(layer: Any) -> bool:
    """A product and nothing else: no bias, no adapter, no hook."""
    return type(layer) is Linear and layer.bias is None and "forward" not in layer.__dict__
