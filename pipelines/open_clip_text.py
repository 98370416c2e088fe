"""open_clip's text towers behind the same interface as transformers'.

Both libraries hold the same network under other names, so weights convert without loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from studio.errors import ModelError
from studio.pipelines.conditioning import WindowedConditioner
from studio.pipelines.text_windows import Vocabulary

BLOCK_NAMES = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
"""A layer's modules in transformers and in open_clip; query, key and value are merged besides."""


class OpenClipConditioner(WindowedConditioner):
    """open_clip's text towers, read without padding mask as SD 1.x and 2.x were trained.

    Args:
        model: ``open_clip.CLIP``, ``open_clip.CustomTextCLIP``, or a ``TextTransformer``.
        tokenizer: open_clip's or transformers' tokenizer for it.
    Raises:
        ModelError: the text tower cannot be read layer by layer.
    """

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        text: Any = getattr(model, "text", model)
        if not all(hasattr(text, name) for name in ("transformer", "token_embedding", "ln_final")):
            raise ModelError(
                f"{type(model).__name__} has no text tower of open_clip's own kind.",
                valid="open_clip.CLIP, CustomTextCLIP with a TextTransformer, TextTransformer",
            )
        # A tower has "indices"; a whole CLIP keeps its tower unpacked and says which side is meant.
        self._whole = hasattr(text, "visual")
        self.text = text
        length, _ = text.positional_embedding.shape
        super().__init__(Vocabulary.of(tokenizer, length), len(text.transformer.resblocks))

    def _read(self, ids: Tensor, mask: Tensor, clip_skip: int) -> tuple[Tensor, None]:
        del mask  # causal attention: the text cannot see the padding
        layer = [self.layers - clip_skip]
        if self._whole:
            output = self.text.forward_intermediates(
                text=ids, text_indices=layer, normalize_intermediates=True, intermediates_only=True
            )
        else:
            output = self.text.forward_intermediates(
                ids,
                indices=layer,
                stop_early=True,
                normalize_intermediates=True,
                intermediates_only=True,
                output_fmt="NLC",
            )
        return output["text_intermediates"][-1], None

    def _device(self) -> torch.device:
        return torch.device(self.text.token_embedding.weight.device)


def convert_to_open_clip(text_encoder: Any) -> nn.Module:
    """The same text tower for open_clip, with copies of the weights.

    Args:
        text_encoder: transformers' ``CLIPTextModel`` (the result pools without projecting) or
            ``CLIPTextModelWithProjection``.
    Returns:
        ``open_clip.transformer.TextTransformer`` in eval mode, in the encoder's device and
        precision; hidden states equal the encoder's, and so does the pooled output.
    Raises:
        ModelError: the activation is neither "gelu" nor "quick_gelu".
    """
    from open_clip.transformer import (  # type: ignore[import-untyped]
        LayerNorm,
        QuickGELU,
        TextTransformer,
    )

    config = text_encoder.config
    activations = {"gelu": nn.GELU, "quick_gelu": QuickGELU}
    if config.hidden_act not in activations:
        raise ModelError(
            f"open_clip has no text tower with the activation {config.hidden_act!r}.",
            valid=" or ".join(activations),
        )
    projection = getattr(text_encoder, "text_projection", None)
    tower = TextTransformer(
        context_length=config.max_position_embeddings,
        vocab_size=config.vocab_size,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        layers=config.num_hidden_layers,
        # open_clip rounds width * ratio down: half a unit more keeps it from losing one.
        mlp_ratio=(config.intermediate_size + 0.5) / config.hidden_size,
        output_dim=None if projection is None else config.projection_dim,
        # transformers takes the largest id for EOS where the config has the old default of 2.
        pool_type="argmax" if config.eos_token_id == 2 else "eos",
        eos_id=config.eos_token_id,
        pad_id=config.pad_token_id,
        act_layer=activations[config.hidden_act],
        norm_layer=partial(LayerNorm, eps=config.layer_norm_eps),
    )
    state = dict(_renamed(getattr(text_encoder, "text_model", text_encoder).state_dict()))
    if projection is not None:
        state["text_projection"] = projection.weight.T
    tower.load_state_dict(state)
    tower.to(device=text_encoder.device, dtype=text_encoder.dtype)
    converted: nn.Module = tower.eval()
    return converted


def _renamed(state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The weights of transformers' text tower under open_clip's names."""
    # Older models of transformers keep the tower one level down.
    state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    yield "token_embedding.weight", state["embeddings.token_embedding.weight"]
    yield "positional_embedding", state["embeddings.position_embedding.weight"]
    layers = sum(name.endswith("mlp.fc1.weight") for name in state)
    for kind in ("weight", "bias"):
        yield f"ln_final.{kind}", state[f"final_layer_norm.{kind}"]
        for i in range(layers):
            theirs, ours = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
            for name, new in BLOCK_NAMES.items():
                yield f"{ours}.{new}.{kind}", state[f"{theirs}.{name}.{kind}"]
            qkv = [state[f"{theirs}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            yield f"{ours}.attn.in_proj_{kind}", torch.cat(qkv)
