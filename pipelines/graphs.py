"""CUDA graphs around the U-Net: one launch a step in place of a thousand.

A graph is recorded once for each shape and replayed at the addresses that it was recorded at. So
what it reads is kept here as long as the U-Net lives: its inputs, the keys and values of the text,
joint weights. A replay computes what the recording computed, bit for bit.
https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-graphs
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.nn import Module

from studio.pipelines.constant_text import ConstantText
from studio.pipelines.fast_blocks import FastBlocks
from studio.pipelines.overriding import Override, overridden
from studio.pipelines.seamless import is_circular

_RECORDINGS = 4  # guidance on and off, and two more sizes
_WARM_UPS = 2  # libraries choose their kernels and workspaces in them
_CLOSE = 0.02  # of half precision; a recording gone wrong is off by far more
_TEXT = "encoder_hidden_states"


class Recording:
    """A call that is recorded once, with inputs of its own.

    Args:
        call: what is recorded, from the inputs by name.
        inputs: tensors on the GPU; their shapes and types stay.
    """

    def __init__(
        self, call: Callable[[Mapping[str, Tensor]], Tensor], inputs: Mapping[str, Tensor]
    ) -> None:
        self.inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        self.text: Tensor | None = None  # what was last copied into the input of that name
        aside: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                call(self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._output = call(self.inputs)

    def replay(self) -> Tensor:
        """What the call says of the inputs as they are now, in a tensor of its own."""
        self._graph.replay()
        return self._output.clone()


@dataclass(eq=False)
class Graphs:
    """The recordings of one U-Net, and the constants that they read."""

    record: Callable[..., Any] = Recording
    text: ConstantText = field(default_factory=lambda: ConstantText(texts=0))
    blocks: FastBlocks = field(default_factory=FastBlocks)
    _recordings: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    _weights: tuple[Any, ...] = ()
    _failed: bool = False

    def layers(self, unet: Any) -> Iterator[Override]:
        """The U-Net itself and its blocks, for ``overriding``; first renews what is kept."""
        if unet.device.type == "cuda":  # tensor cores want channels last; values stay
            unet.to(memory_format=torch.channels_last)
        weights = tuple(
            (each.data_ptr(), each.shape, each.stride(), each.dtype) for each in unet.parameters()
        )
        if weights != self._weights:
            self.forget()
            self._weights, self._failed = weights, False
        self.blocks.refill()  # values may have changed in place
        self.text.refill()
        own: Override = (unet, self.replayed)
        return chain([own], self.blocks.layers(unet), self.text.layers(unet))

    def forget(self) -> None:
        """Frees what is kept."""
        self._recordings.clear()
        self.text.answers.clear()
        self.blocks.joint.clear()

    def replayed(self, unet: Any, x: Tensor, t: Tensor, **options: Any) -> tuple[Tensor]:
        """``unet(x, t, ...)``, replayed where it is a plain call."""
        inputs = _tensors(x, t, options)
        recording = None if inputs is None else self._recording(unet, inputs)
        if recording is None or inputs is None:
            output: tuple[Tensor] = type(unet).forward(unet, x, t, **options)
            return output
        for name, kept in recording.inputs.items():
            if name != _TEXT:
                kept.copy_(inputs[name], non_blocking=True)
        if recording.text is not inputs[_TEXT]:
            recording.text = inputs[_TEXT]
            recording.inputs[_TEXT].copy_(recording.text)
            self.text.refill(recording.inputs[_TEXT])
        return (recording.replay(),)

    def _recording(self, unet: Any, inputs: Mapping[str, Tensor]) -> Any:
        key = tuple((name, each.shape, each.dtype) for name, each in inputs.items())
        if key not in self._recordings and not self._failed:
            try:
                self._recordings[key] = self._recorded(unet, inputs)
            except RuntimeError:  # no memory for a second set of activations, or not trustworthy
                self._failed = True
                self.forget()
        return self._recordings.get(key)

    def _recorded(self, unet: Any, inputs: Mapping[str, Tensor]) -> Any:
        def call(given: Mapping[str, Tensor]) -> Tensor:
            self.text.know(given[_TEXT])
            beside = {name: given[name] for name in given if name not in ("x", "t", _TEXT)}
            output: Tensor = type(unet).forward(
                unet,
                given["x"],
                given["t"],
                encoder_hidden_states=given[_TEXT],
                added_cond_kwargs=beside or None,
                return_dict=False,
            )[0]
            return output

        while len(self._recordings) >= _RECORDINGS:
            oldest = self._recordings.pop(next(iter(self._recordings)))
            self.text.answers.pop(id(oldest.inputs[_TEXT]), None)
        device = inputs["x"].device
        recording = self.record(call, {name: each.to(device) for name, each in inputs.items()})
        recording.text = inputs[_TEXT]
        drawn, expected = recording.replay(), call(recording.inputs)
        if not torch.allclose(drawn.float(), expected.float(), rtol=_CLOSE, atol=_CLOSE):
            raise RuntimeError("the recording computes something else than the U-Net")
        return recording


_kept: WeakKeyDictionary[Module, Graphs] = WeakKeyDictionary()


def graphs_of(unet: Any) -> Graphs | None:
    """The recordings of a U-Net; None where its calls are not to be recorded.

    That is off the GPU, and where something has its hands in the U-Net: offloading, adapters that
    hook on, other attention processors, seamless padding.
    """
    if not isinstance(unet, UNet2DConditionModel) or unet.device.type != "cuda":
        return None
    return _kept.setdefault(unet, Graphs()) if is_plain(unet) else None


def is_plain(unet: Any) -> bool:
    """Whether nothing but the weights decides what a U-Net computes."""
    plain = {type(each) for each in unet.attn_processors.values()} <= {AttnProcessor2_0}
    hooked = any(
        overridden(layer) or layer._forward_hooks or layer._forward_pre_hooks
        for layer in unet.modules()
    )
    return plain and not hooked and not is_circular(unet)


def _tensors(x: Tensor, t: Tensor, options: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """All inputs by name; None where there are others than the plain ones."""
    options = {name: value for name, value in options.items() if value is not None}
    text, beside = options.pop(_TEXT, None), options.pop("added_cond_kwargs", None) or {}
    plain = set(options) == {"return_dict"} and options["return_dict"] is False
    if not plain or not isinstance(text, Tensor) or not isinstance(t, Tensor):
        return None
    return {"x": x, "t": t, _TEXT: text, **beside}
