"""Models in the names that CompVis and Stability gave them: the way back from diffusers' names.

Written from the original architectures, not from any converter, so that a mistake in the loading
does not hide in the test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from studio.pipelines.families import Family
from studio.pipelines.open_clip_text import _renamed as open_clip_names

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "class_embedding": "label_emb",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.attentions.0": "middle_block.1",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def single_file(family: Family, parts: Mapping[str, Any]) -> dict[str, Tensor]:
    """Every tensor of a model in one file of the original layout, with what else is in there."""
    tensors = {
        f"model.diffusion_model.{_unet_name(family.unet, name)}": tensor
        for name, tensor in parts["unet"].state_dict().items()
    }
    for name, tensor in parts["vae"].state_dict().items():
        new = _vae_name(len(family.vae["block_out_channels"]), name)
        convolved = ".attn_1." in new and "norm" not in new and new.endswith("weight")
        tensors[f"first_stage_model.{new}"] = tensor[..., None, None] if convolved else tensor
    tensors.update(_text(family, parts))
    return tensors


def _text(family: Family, parts: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    two = "text_encoder_2" in family.towers
    for part, tower in family.towers.items():
        encoder = parts[part]
        state = getattr(encoder, "text_model", encoder).state_dict()
        place = len([p for p in family.towers if p < part])
        prefix = f"conditioner.embedders.{place}." if two else "cond_stage_model."
        if tower.kind == "clip":
            for name, tensor in state.items():
                yield f"{prefix}transformer.text_model.{name}", tensor
            continue
        for name, tensor in open_clip_names(state):
            yield f"{prefix}model.{name}", tensor
        if hasattr(encoder, "text_projection"):
            yield f"{prefix}model.text_projection", encoder.text_projection.weight.T.contiguous()


def _unet_name(config: Mapping[str, Any], name: str) -> str:
    for theirs, ours in _UNET.items():
        if name.startswith(f"{theirs}."):
            return name.replace(theirs, ours, 1)
    layers = config["layers_per_block"]
    found = re.match(r"(down|up|mid)_blocks?\.(?:(\d)\.)?(\w+)\.(\d)\.(.*)", name)
    assert found, name
    side, level, kind, index, rest = found.groups()
    i, j = int(level or 0), int(index)
    for theirs, ours in _RESNET.items() if kind == "resnets" else ():
        rest = re.sub(rf"^{theirs}\.", f"{ours}.", rest)
    if side == "mid":
        return f"middle_block.{2 * j}.{rest}"
    place = "1" if kind == "attentions" else "0"
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(i + 1) * (layers + 1)}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{1 + i * (layers + 1) + j}.{place}.{rest}"
    if kind == "upsamplers":
        place = "2" if "CrossAttn" in config["up_block_types"][i] else "1"
        return f"output_blocks.{i * (layers + 1) + layers}.{place}.{rest}"
    return f"output_blocks.{i * (layers + 1) + j}.{place}.{rest}"


def _vae_name(levels: int, name: str) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    upwards = re.match(r"(decoder)\.up_blocks\.(\d)\.(resnets\.(\d)|upsamplers\.0)(.*)", name)
    if upwards:
        side, level, kind, index, rest = upwards.groups()
        inner = f"block.{index}" if kind.startswith("resnets") else "upsample"
        return f"{side}.up.{levels - 1 - int(level)}.{inner}{rest}"
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    if "mid_block.attentions.0." in name:
        head, rest = name.split("mid_block.attentions.0.")
        module, _, kind = rest.rpartition(".")
        return f"{head}mid.attn_1.{_ATTENTION[module]}.{kind}"
    return name


def control_file(family: Family, net: Any) -> dict[str, Tensor]:
    """Every tensor of a ControlNet under the names of https://github.com/lllyasviel/ControlNet."""
    hint = "controlnet_cond_embedding."

    def named(name: str) -> str:
        if name.startswith(hint):
            place, kind = name.removeprefix(hint).rsplit(".", 1)
            ends = {"conv_in": 0, "conv_out": 14}
            index = ends[place] if place in ends else 2 * int(place.split(".")[1]) + 2
            return f"input_hint_block.{index}.{kind}"
        if name.startswith("controlnet_down_blocks."):
            _, number, kind = name.split(".")
            return f"zero_convs.{number}.0.{kind}"
        if name.startswith("controlnet_mid_block."):
            return name.replace("controlnet_mid_block", "middle_block_out.0")
        return _unet_name(family.unet, name)

    return {f"control_model.{named(name)}": tensor for name, tensor in net.state_dict().items()}
