"""Which parts of a model are in memory when: all of them, or each only while it is used.

``high`` keeps all. In ``low`` text encoders and U-Net take turns, and both leave while the VAE
works: on a GPU to the machine's memory, elsewhere to the files that they came from. In ``lowest`` a
GPU holds the layers that compute, one after the other (diffusers' group offloading), and a CPU the
U-Net in the precision of its file. All of it is exact; only the tiles that the VAE takes are not.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch.nn import GroupNorm, LayerNorm, Module, Parameter

from studio.pipelines import memory
from studio.pipelines.parts import quiet
from studio.pipelines.placement import Runtime

TILES = {"high": None, "low": 512, "lowest": 256}
"""Pixels along the edge of the VAE's largest tile, by memory mode; None: as free memory has it."""


@dataclass(eq=False)
class _Part:
    """One part: weakly held, so that a model is free again with its last user."""

    name: str
    model: weakref.ref[Module]
    load: Callable[[], Any]
    present: bool = True
    takes_turns: bool = False


class Residency:
    """Lets the parts of one model come and go.

    Args:
        runtime: where they compute; its ``memory`` is settled, not "auto".
    """

    def __init__(self, runtime: Runtime) -> None:
        self.mode = runtime.memory
        self.device = torch.device(runtime.device)
        self._runtime = runtime
        self._parts: list[_Part] = []

    @classmethod
    def of(cls, model: Any) -> Self | None:
        """The one that a loaded part belongs to."""
        return getattr(model, "_residency", None)

    @property
    def tile(self) -> int | None:
        """Pixels along the edge of the VAE's largest tile; None: as free memory has it."""
        return TILES[self.mode]

    @property
    def in_groups(self) -> bool:
        """Whether layers come to the GPU one after the other."""
        return self.mode == "lowest" and self.device.type == "cuda"

    def alike(self) -> Residency:
        """Another for the same place, which has no parts yet."""
        return Residency(self._runtime)

    def loader(self, name: str) -> Callable[[], Any]:
        """What gives the part of that name as its file has it."""
        return next(part.load for part in self._parts if part.name == name)

    def take(self, name: str, load: Callable[[], Any], model: Any = None) -> Any:
        """Loads a part and looks after it from now on.

        Args:
            name: of its folder, such as "unet".
            load: gives the part as its file has it, whenever it is called.
            model: the part, where it is there already.
        """
        self.make_room()
        model = load() if model is None else model
        object.__setattr__(model, "_residency", self)
        part = _Part(name, weakref.ref(model), load)
        self._parts.append(part)
        if name != "vae":
            if self.in_groups:
                self._group(model)
            elif self.mode != "high":
                part.present = self.device.type != "cuda"
                self._announce(part, model)
        return model

    def make_room(self) -> None:
        """Sends away all that can leave, for what comes next."""
        if self.mode != "high" and not self.in_groups:
            for part, _ in self._leaving():
                self._leave(part)

    def lower(self) -> bool:
        """Goes on with less memory, if there is a way, until :meth:`restore`."""
        if self.mode == "lowest" or (self.mode == "low" and self.device.type != "cuda"):
            return False
        self.mode = "low" if self.mode == "high" else "lowest"
        for part, model in self._leaving():
            self._leave(part)
            if self.in_groups:
                self._group(model)
            else:
                self._announce(part, model)
        return True

    def restore(self) -> None:
        """Ends what :meth:`lower` began."""
        if self.mode == self._runtime.memory:
            return
        were_in_groups, self.mode = self.in_groups, self._runtime.memory
        for part, model in self._leaving():
            if were_in_groups:
                _ungroup(model)
            if self.mode == "high":
                self._arrive(part)

    def _leaving(self) -> list[tuple[_Part, Module]]:
        """The parts that need not be there all the time."""
        there = [(part, part.model()) for part in self._parts if part.name != "vae"]
        return [(part, model) for part, model in there if model is not None]

    def _announce(self, part: _Part, model: Module) -> None:
        def arrive(*_: object) -> None:
            self._arrive(part)

        if not part.takes_turns:
            model.register_forward_pre_hook(arrive)
            part.takes_turns = True

    def bring(self, model: Any) -> None:
        """Has a part where it computes, before it is asked to."""
        for part, there in self._leaving():
            if there is model:
                self._arrive(part)

    def _arrive(self, part: _Part) -> None:
        model = part.model()
        if part.present or model is None or self.in_groups:
            return
        for other, _ in self._leaving():
            if self.mode != "high" and (other.name == "unet") != (part.name == "unet"):
                self._leave(other)
        if self.device.type == "cuda":
            model.to(self.device)
        else:
            # What is made under inference mode could not be changed outside it.
            with quiet(), torch.inference_mode(mode=False):
                model.load_state_dict(part.load().state_dict(), assign=True)
            memory.give_back()
        part.present = True

    def _leave(self, part: _Part) -> None:
        model = part.model()
        if not part.present or model is None:
            return
        if self.device.type == "cuda":
            model.to("cpu")
        else:
            _empty(model)
        memory.give_back()
        part.present = False

    def _group(self, model: Module) -> None:
        from diffusers.hooks.group_offloading import apply_group_offloading

        apply_group_offloading(
            model,
            onload_device=self.device,
            offload_device=torch.device("cpu"),
            offload_type="leaf_level",
            use_stream=self.device.type == "cuda",
        )


def device_of(model: Any) -> torch.device:
    """Where a part computes, wherever it is now."""
    residency = Residency.of(model)
    return residency.device if residency else torch.device(model.device)


def room_for(vae: Any) -> int | None:
    """Makes room for a VAE's work. Returns the edge of its largest tile in pixels, if limited."""
    residency = Residency.of(vae)
    if residency is None:
        return None
    residency.make_room()
    return residency.tile


def bring(model: Any) -> None:
    """Has a part where it computes, for who looks at its weights before it runs."""
    if residency := Residency.of(model):
        residency.bring(model)


def in_groups(model: Any) -> bool:
    """Whether a part's layers come to the GPU one after the other, and so keep their precision."""
    residency = Residency.of(model)
    return residency is not None and residency.in_groups


def lower(model: Any) -> str:
    """Lets the parts of a model take less memory; the new mode, or "" where there is no lower."""
    residency = Residency.of(model)
    return residency.mode if residency and residency.lower() else ""


@contextmanager
def restored(*models: Any) -> Iterator[None]:
    """Models may be lowered within; afterwards they take what they took before."""
    try:
        yield
    finally:
        for residency in filter(None, map(Residency.of, models)):
            residency.restore()


def cast_by_layer(model: Any, dtype: torch.dtype) -> Any:
    """Lets a U-Net in half precision compute in ``dtype``, each layer cast while it works.

    The numbers are those of a U-Net that was cast whole.
    """
    from diffusers.hooks._common import _GO_LC_SUPPORTED_PYTORCH_LAYERS as CASTABLE
    from diffusers.hooks.layerwise_casting import apply_layerwise_casting

    stored = model.dtype
    for module in model.modules():
        if not isinstance(module, CASTABLE):  # norms: small
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    apply_layerwise_casting(model, stored, dtype, skip_modules_classes=(GroupNorm, LayerNorm))
    return model


def _ungroup(model: Module) -> None:
    from diffusers.hooks.group_offloading import (
        _GROUP_OFFLOADING,
        _LAYER_EXECUTION_TRACKER,
        _LAZY_PREFETCH_GROUP_OFFLOADING,
    )
    from diffusers.hooks.hooks import HookRegistry

    registry = HookRegistry.check_if_exists_or_initialize(model)
    for name in (_GROUP_OFFLOADING, _LAYER_EXECUTION_TRACKER, _LAZY_PREFETCH_GROUP_OFFLOADING):
        registry.remove_hook(name, recurse=True)


def _empty(model: Module) -> None:
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            nothing = torch.empty_like(parameter, device="meta")
            module.register_parameter(name, Parameter(nothing, requires_grad=False))
