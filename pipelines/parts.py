"""What the two ways of loading share: classes of the parts, their type, device and layout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from studio.pipelines.placement import Runtime

# Weights bring no code. diffusers reads this when it is first imported.
os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")

TOWERS = ("text_encoder", "text_encoder_2")
PARTS = (*TOWERS, "unet", "vae")
TRANSFORMERS = (*TOWERS, "image_encoder")
"""The parts that transformers has the classes of; diffusers has the others."""


def model_class(part: str, name: str = "") -> Any:
    """The library's class of a part, by the name of its folder; ``name`` as its config has it."""
    if part == "text_encoder":
        from transformers import CLIPTextModel

        return CLIPTextModel
    if part == "text_encoder_2":
        from transformers import CLIPTextModelWithProjection

        return CLIPTextModelWithProjection
    if part == "image_encoder":
        from transformers import CLIPVisionModelWithProjection

        return CLIPVisionModelWithProjection
    if part == "controlnet":
        from diffusers.models.controlnets.controlnet import ControlNetModel

        return ControlNetModel
    if part == "unet":
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        return UNet2DConditionModel
    if name == "AutoencoderDC":
        from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC

        return AutoencoderDC
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL


def dtype_of(part: str, runtime: Runtime) -> torch.dtype:
    """The type in which a part computes."""
    return runtime.vae_dtype if part == "vae" else runtime.dtype


def held_dtype(part: str, runtime: Runtime, stored: str) -> torch.dtype:
    """The type in which a part is held, smaller than it computes in where memory is short.

    Args:
        part: name of its folder.
        runtime: its ``memory`` is settled.
        stored: type of the numbers in the file, as safetensors names it; "" where they differ.
    """
    import torch

    halves = {"F16": torch.float16, "BF16": torch.bfloat16}
    slim = part == "unet" and runtime.memory == "lowest" and runtime.device == "cpu"
    return halves[stored] if slim and stored in halves else dtype_of(part, runtime)


def ready(model: Any, part: str, runtime: Runtime) -> Any:
    """A loaded part, set to draw and moved to its device, or to where it waits for its turn."""
    import torch

    from studio.pipelines import offload

    waits = part in (*TOWERS, "unet") and runtime.memory in ("low", "lowest")
    device = "cpu" if waits and runtime.device.startswith("cuda") else runtime.device
    model = model.requires_grad_(False).eval().to(device)
    if model.dtype != dtype_of(part, runtime):
        model = offload.cast_by_layer(model, dtype_of(part, runtime))
    if part in TRANSFORMERS:
        return model
    # Convolutions are several times faster in this layout on CPUs, and on GPUs in half precision.
    return model.to(memory_format=torch.channels_last)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the libraries' progress bars and loading reports off the screen."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    libraries: tuple[Any, ...] = (of_diffusers, of_transformers)
    before = [library.get_verbosity() for library in libraries]
    bars = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity, bar in zip(libraries, before, bars, strict=True):
            library.set_verbosity(verbosity)
            if bar:
                library.enable_progress_bar()
