"""Random LoRAs for a tiny model, in the forms that trainers and libraries write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.pipelines.families import Family
from tests.compvis import _unet_name
from tests.tiny_families import write

RANK = 3

Name = Callable[[str, str, str], str]
"""Key of a tensor: of (part, module, role), the role being down, up or alpha."""

_OLD = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


def factors(
    parts: Mapping[str, Any], seed: int = 0, *, convolutions: bool = True
) -> dict[tuple[str, str], dict[str, Tensor]]:
    """Random down, up and alpha of every layer that trainers change, by part and module.

    Modules have the names that files give them, those of transformers before 5.6.
    """
    noise = torch.Generator().manual_seed(seed)
    found = {}
    for part, model in parts.items():
        if part == "vae":
            continue
        for name, module in model.named_modules():
            weight = getattr(module, "weight", None)
            if weight is None or weight.ndim not in (2, 4) or "embedding" in name:
                continue
            wanted = "attn" in name or ".ff." in name or "mlp" in name or "proj_" in name
            if not (wanted or (convolutions and weight.ndim == 4)) or name == "text_projection":
                continue
            shapes = (RANK, *weight.shape[1:]), (len(weight), RANK, *(1,) * (weight.ndim - 2))
            size = 0.6 * weight[0].numel() ** -0.5
            down, up = (torch.randn(shape, generator=noise) for shape in shapes)
            whole = (
                name if part == "unet" or name.startswith("text_model.") else f"text_model.{name}"
            )
            alpha = torch.tensor(2.0)
            found[part, whole] = {"down": down * size, "up": up * size**0.5, "alpha": alpha}
    return found


def kohya(part: str, module: str, role: str) -> str:
    """The form of kohya's trainer, and of A1111."""
    prefix = {"unet": "unet", "text_encoder": "te", "text_encoder_2": "te2"}[part]
    ending = "alpha" if role == "alpha" else f"lora_{role}.weight"
    return f"lora_{prefix}_{module.replace('.', '_')}.{ending}"


def kohya_xl(family: Family) -> Name:
    """The form that it has for SDXL, with Stability's names for the U-Net."""

    def name(part: str, module: str, role: str) -> str:
        if part == "unet":
            module = _unet_name(family.unet, f"{module}.weight").removesuffix(".weight")
        return kohya(part, module, role).replace("lora_te_", "lora_te1_")

    return name


def peft(part: str, module: str, role: str) -> str:
    """The form of peft in diffusers' files."""
    return f"{part}.{module}.lora_{'A' if role == 'down' else 'B'}.weight"


def diffusers(part: str, module: str, role: str) -> str:
    """The form of diffusers before peft."""
    middle = "lora" if part == "unet" else "lora_linear_layer"
    return f"{part}.{module}.{middle}.{role}.weight"


def diffusers_old(part: str, module: str, role: str) -> str:
    """The first form of diffusers, for attention only."""
    head, _, last = module.removesuffix(".0").rpartition(".")
    last = _OLD.get(last, last)
    return f"{part}.{head}{'.processor' if part == 'unet' else ''}.{last}_lora.{role}.weight"


def lora_file(
    path: Path, layers: Mapping[tuple[str, str], Mapping[str, Tensor]], name: Name, **notes: str
) -> Path:
    """Writes layers under a form's names; alpha only in kohya's, the others do not have it."""
    has_alpha = name(*next(iter(layers)), "alpha").endswith(".alpha")
    tensors = {
        name(part, module, role): tensor
        for (part, module), roles in layers.items()
        for role, tensor in roles.items()
        if role != "alpha" or has_alpha
    }
    return write(tensors, path, **notes)
