"""Tiny ControlNets and IP-Adapters with random weights, in the layouts that people share."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

_holder = tempfile.TemporaryDirectory(prefix="tiny-adapters-", ignore_cleanup_errors=True)

HINT = (8, 16, 16)
"""Features through which a tiny control image comes to a quarter of its size."""

_FEATURES = 32  # of a tiny image encoder


@cache
def control_net(model: Path, seed: int = 0) -> Any:
    """A ControlNet for a model's folder; what begins as zeros in training is random here."""
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ControlNetModel.from_unet(
            unet, conditioning_embedding_out_channels=HINT, load_weights_from_unet=False
        )
        with torch.no_grad():
            for parameter in net.parameters():
                if not parameter.any():
                    parameter.copy_(0.3 * torch.randn_like(parameter))
    return net.eval()


@cache
def control_folder(model: Path, seed: int = 0) -> Path:
    """The same in diffusers' layout."""
    folder = Path(_holder.name) / f"control-{model.name}-{seed}"
    control_net(model, seed).save_pretrained(folder)
    return folder


@cache
def adapter_file(model: Path, kind: str = "plain") -> Path:
    """An IP-Adapter for a model's folder, with its image encoder beside it.

    Args:
        model: folder of the model.
        kind: "plain" sees the whole picture, "plus" and "full" see it place by place.
    """
    folder = Path(_holder.name) / f"adapter-{model.name}-{kind}"
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        tensors = {f"image_proj.{n}": t for n, t in _projection(unet, kind).items()}
        tensors |= {f"ip_adapter.{n}": t for n, t in _attention(unet).items()}
        _encoder().save_pretrained(folder / "image_encoder")
    save_file(tensors, folder / "adapter.safetensors")
    return folder / "adapter.safetensors"


def _encoder() -> Any:
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=_FEATURES,
            intermediate_size=64,
            projection_dim=24,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=28,
            patch_size=14,
            initializer_factor=5.0,
        )
    )


def _attention(unet: Any) -> Mapping[str, Tensor]:
    """Keys and values of the picture, numbered by all attention layers, as the originals are."""
    found = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            layer = unet.get_submodule(name.removesuffix(".processor"))
            shape = layer.to_k.weight.shape
            for side in ("k", "v"):
                found[f"{number}.to_{side}_ip.weight"] = torch.randn(shape) / shape[1] ** 0.5
    return found


def _projection(unet: Any, kind: str) -> Mapping[str, Tensor]:
    context = unet.config.cross_attention_dim
    if kind == "plain":
        return {
            "proj.weight": torch.randn(4 * context, 24) / 5,
            "proj.bias": torch.randn(4 * context),
            **_norm("norm", context),
        }
    if kind == "full":
        return {
            **_linear("proj.0", _FEATURES, _FEATURES),
            **_linear("proj.2", _FEATURES, context),
            **_norm("proj.3", context),
        }
    wide = 64  # one head of what diffusers reads out of the file
    return {
        "latents": torch.randn(1, 5, wide),
        **_linear("proj_in", _FEATURES, wide),
        **_linear("proj_out", wide, context),
        **_norm("norm_out", context),
        **{f"layers.{i}.{n}": t for i in range(4) for n, t in _layer(wide).items()},
    }


def _layer(wide: int) -> Mapping[str, Tensor]:
    return {
        **_norm("0.norm1", wide),
        **_norm("0.norm2", wide),
        "0.to_q.weight": torch.randn(64, wide) / 8,
        "0.to_kv.weight": torch.randn(128, wide) / 8,
        "0.to_out.weight": torch.randn(wide, 64) / 8,
        **_norm("1.0", wide),
        "1.1.weight": torch.randn(4 * wide, wide) / 8,
        "1.3.weight": torch.randn(wide, 4 * wide) / 16,
    }


def _linear(name: str, inputs: int, outputs: int) -> Mapping[str, Tensor]:
    weight = torch.randn(outputs, inputs) / inputs**0.5
    return {f"{name}.weight": weight, f"{name}.bias": torch.randn(outputs)}


def _norm(name: str, size: int) -> Mapping[str, Tensor]:
    return {f"{name}.weight": 1 + torch.randn(size) / 5, f"{name}.bias": torch.randn(size) / 5}
