"""Which module of a model each tensor of a LoRA file is for, whoever wrote the file.

Names are never taken apart and put together again: every module of the model says under which names
files know it, and what is under no such name fits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

Role = Literal["down", "up", "mid", "alpha"]

_ENDINGS: Mapping[str, Role] = {
    ".lora_down.weight": "down",  # kohya
    ".lora_up.weight": "up",
    ".lora_mid.weight": "mid",
    ".alpha": "alpha",
    ".lora_A.weight": "down",  # peft
    ".lora_B.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_B.default.weight": "up",
    ".lora.down.weight": "down",  # diffusers
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    "_lora.down.weight": "down",  # diffusers before 0.22
    "_lora.up.weight": "up",
}
_OLD = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_STEM = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_BLOCK = re.compile(r"(down|mid|up)_blocks?(?:\.(\d+))?\.(\w+?)\.(\d+)(?:\.(.+))?")


class Place(NamedTuple):
    """A module of a model.

    Args:
        part: "unet", "text_encoder" or "text_encoder_2".
        module: its name in the part.
    """

    part: str
    module: str


def split(key: str) -> tuple[str, Role] | None:
    """A tensor's module, as the file names it, and its role; None where it is of no LoRA's form."""
    for ending, role in _ENDINGS.items():
        if key.endswith(ending):
            return key.removesuffix(ending), role
    return None


def places(models: Mapping[str, Any]) -> dict[str, Place]:
    """Every module with a matrix or a convolution, under all names that files have for it.

    Args:
        models: the parts by the names of their folders.
    """
    found: dict[str, Place] = {}
    for part, model in models.items():
        for name, module in model.named_modules():
            if getattr(module, "weight", None) is not None and module.weight.ndim in (2, 4):
                named = (
                    _unet_names(name, model.config) if part == "unet" else _text_names(part, name)
                )
                found |= dict.fromkeys(named, Place(part, name))
    return found


def _unet_names(name: str, config: Any) -> Iterator[str]:
    old = re.sub(r"(attn[12])\.(to_\w+)(?:\.0)?$", r"\1.processor.\2", name)
    for dotted in (name, old, old.replace(".processor", "")):
        yield from (dotted, f"unet.{dotted}", f"base_model.model.{dotted}")
        yield f"unet.base_model.model.{dotted}"
    for dotted in (name, _stability_name(name, config)):
        yield f"lora_unet_{dotted.replace('.', '_')}"


def _text_names(part: str, name: str) -> Iterator[str]:
    # Text models lost a level of their names in transformers 5.6, files did not.
    whole = name if name.startswith(("text_model.", "text_projection")) else f"text_model.{name}"
    old = whole
    for new, ours in _OLD.items():
        old = old.replace(f"self_attn.{ours}", f"self_attn.{new}")
    for dotted in (whole, old):
        yield from (f"{part}.{dotted}", f"{part}.base_model.model.{dotted}")
    flat = whole.replace(".", "_")
    kohya = ("lora_te2",) if part == "text_encoder_2" else ("lora_te", "lora_te1")
    yield from (f"{prefix}_{flat}" for prefix in kohya)


def _stability_name(name: str, config: Any) -> str:
    """The module's name in the original layout of Stability, which trainers use for SDXL."""
    if name in _STEM:
        return _STEM[name]
    match = _BLOCK.fullmatch(name)
    if match is None:
        return name
    side, block, kind, layer, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if kind == "resnets":
        rest = _RESNET[rest]
    column = {"resnets": 0, "attentions": 1}.get(kind)
    layers = config.layers_per_block
    if side == "mid":
        return f"middle_block.{2 * layer + (column or 0)}.{rest}"
    if side == "down":
        row = 1 + block * (layers + 1) + (layer if column is not None else layers)
        return f"input_blocks.{row}.{column or 0}.{'op' if column is None else rest}"
    row = block * (layers + 1) + (layer if column is not None else layers)
    if column is None:
        column = 2 if "Attn" in config.up_block_types[block] else 1
    return f"output_blocks.{row}.{column}.{rest}"
