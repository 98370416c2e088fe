"""LoRA: small changes of weights, learnt apart and added on (https://arxiv.org/abs/2106.09685).

The change of a weight is up @ down * alpha / rank, for convolutions likewise. It is added to the
weights themselves, so that drawing takes no longer than without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import Parameter

from studio.errors import ModelError
from studio.pipelines import weights
from studio.pipelines.lora_names import Place, places, split

_SHOWN = 12  # of the keys that fit nothing


@dataclass(frozen=True, eq=False)
class _Change:
    """The change of one module's weight, in factors."""

    down: Tensor
    up: Tensor
    scale: float
    mid: Tensor | None = None

    def of(self, weight: Tensor) -> Tensor | None:
        """In the shape of ``weight``, fp32; None where it does not fit."""
        device = weight.device
        down, up = self.down.to(device, torch.float32), self.up.to(device, torch.float32)
        try:
            if self.mid is None:
                change = up.flatten(1) @ down.flatten(1)
            else:
                mid = self.mid.to(device, torch.float32)
                change = torch.einsum("op,pqhw,qi->oihw", up.flatten(1), mid, down.flatten(1))
            same = change.numel() == weight.numel() and change.shape[0] == weight.shape[0]
        except RuntimeError:
            return None
        return change.reshape(weight.shape) * self.scale if same else None


Terms = Sequence[tuple[_Change, float, Path]]
"""What is added to one weight: changes, how strongly each acts, and where it is from."""


def read_loras(
    models: Mapping[str, Any], files: Sequence[tuple[Path, float]], who: str
) -> dict[str, dict[str, Terms]]:
    """The changes that LoRAs make, by part and module.

    Args:
        models: U-Net and text encoders by the names of their folders; their weights may be absent
            (on the meta device).
        files: LoRAs and their weights; what several change is changed by their sum.
        who: the model, for errors.

    Raises:
        ModelError: a file is broken, or some of its keys fit nothing of the model; lists them.
    """
    known = places(models)
    found: dict[str, dict[str, list[tuple[_Change, float, Path]]]] = {}
    for path, factor in files:
        for (part, module), change in _changes(path, known, models, who).items():
            found.setdefault(part, {}).setdefault(module, []).append((change, factor, path))
    return {part: dict(modules) for part, modules in found.items()}


def add_loras(model: Any, changes: Mapping[str, Terms]) -> None:
    """Adds changes to the weights of a part, each of them a new tensor.

    Raises:
        ModelError: a change is not finite.
    """
    for name, terms in changes.items():
        module = model.get_submodule(name)
        summed = _summed(module.weight, terms)
        module.register_parameter("weight", Parameter(summed, requires_grad=False))


def _summed(weight: Tensor, terms: Terms) -> Tensor:
    total = weight.float()
    for change, factor, path in terms:
        term = change.of(weight)
        assert term is not None, "checked as the file was read"
        if not term.isfinite().all():
            raise ModelError(f"{path} holds numbers that are not finite.", valid="another copy")
        total = total + factor * term
    layout = torch.channels_last if weight.ndim == 4 else torch.contiguous_format
    return total.to(weight.dtype).contiguous(memory_format=layout)


def _changes(
    path: Path, known: Mapping[str, Place], models: Mapping[str, Any], who: str
) -> dict[Place, _Change]:
    header = weights.check(path)
    tensors: dict[str, dict[str, Tensor]] = {}
    strays: list[str] = []
    with safe_open(path, framework="pt") as file:
        for key in header.shapes:
            found = split(key)
            if found is None or found[0] not in known:
                strays.append(key)
            else:
                tensors.setdefault(found[0], {})[found[1]] = file.get_tensor(key)
    noted = _noted_scales(header.metadata)
    changes: dict[Place, _Change] = {}
    for name, roles in tensors.items():
        place = known[name]
        weight = models[place.part].get_submodule(place.module).weight
        change = _change(roles, noted, name)
        if change is None or place in changes or change.of(weight.detach().to("meta")) is None:
            strays += [f"{name} ({', '.join(_shape(role, t) for role, t in roles.items())})"]
        else:
            changes[place] = change
    if strays or not changes:
        raise _unmatched(path, strays, len(header.shapes), who)
    return changes


def _change(roles: Mapping[str, Tensor], noted: _Noted, name: str) -> _Change | None:
    if not {"down", "up"} <= roles.keys():
        return None
    rank = roles["down"].shape[0]
    scale = float(roles["alpha"]) / rank if "alpha" in roles else noted.scale(name, rank)
    return _Change(roles["down"], roles["up"], scale, roles.get("mid"))


@dataclass(frozen=True)
class _Noted:
    """Peft's settings, where the file notes them, with the part's name before each."""

    settings: Mapping[str, Any]

    def scale(self, name: str, rank: int) -> float:
        """What a module's change is multiplied by: alpha / rank, 1 where nothing is noted."""
        part, _, module = name.partition(".")
        alpha = self.settings.get(f"{part}.lora_alpha")
        if alpha is None:
            return 1.0
        for pattern, own in (self.settings.get(f"{part}.alpha_pattern") or {}).items():
            if module == pattern or module.endswith(f".{pattern}"):
                alpha = own
        rooted = self.settings.get(f"{part}.use_rslora")
        return float(alpha) / (sqrt(rank) if rooted else rank)


def _noted_scales(metadata: Mapping[str, str]) -> _Noted:
    try:
        settings = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except ValueError:
        settings = {}
    return _Noted(settings if isinstance(settings, dict) else {})


def _shape(role: str, tensor: Tensor) -> str:
    return f"{role} {'x'.join(map(str, tensor.shape)) or 'number'}"


def _unmatched(path: Path, strays: Sequence[str], total: int, who: str) -> ModelError:
    shown = ", ".join(strays[:_SHOWN])
    more = f" and {len(strays) - _SHOWN} more" if len(strays) > _SHOWN else ""
    what = f"{len(strays)} of the {total} keys of the LoRA {path} fit nothing of {who}"
    return ModelError(f"{what}: {shown}{more}.", valid="a LoRA for models of this kind")
