"""The loaded parts of a model. Importing this loads no torch, and nothing is ever fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelError
from studio.pipelines import diffusers_folder, single_file
from studio.pipelines.cards import ENLARGING, FAMILY, X2_UPSCALER, ModelCard, card, models

if TYPE_CHECKING:
    from studio.pipelines.adapter_files import Applied
    from studio.pipelines.control import Control
    from studio.pipelines.ip_adapter import ImagePrompt
    from studio.pipelines.memory_plan import Plan
    from studio.pipelines.placement import Runtime
    from studio.pipelines.prompt_encoding import PromptEncoder

__all__ = ["FAMILY", "Components", "ModelCard", "card", "load", "models", "refined"]


@dataclass(frozen=True, eq=False)
class Components:
    """The loaded parts of a model, on their device and in their precision.

    Args:
        card: what the model is.
        runtime: where and how it computes.
        tokenizer: transformers' CLIP tokenizer; None for SDXL's refiner.
        text_encoder: transformers' CLIP text model; None for SDXL's refiner.
        unet: diffusers' UNet2DConditionModel.
        vae: diffusers' AutoencoderKL.
        scheduler_config: the noise schedule that the model was trained with.
        weights_sha256: fingerprint of the weight files (see :mod:`studio.pipelines.weights`).
        tokenizer_2: the second tokenizer, of SDXL.
        text_encoder_2: SDXL's second text model, with projection.
        force_zeros_for_empty_prompt: whether no negative prompt means zeros (SDXL's base).
        requires_aesthetics_score: whether the U-Net wants a score in place of the target size
            (SDXL's refiner).
        upscaler: spandrel's ImageModelDescriptor, where the model is one; it has no other parts.
        low_res_scheduler_config: the noise that a latent upscaler's small picture is given.
        max_noise_level: how much of it the model knows.
        memory: what it was planned to take.
        refiner: the model that finishes what this one begins, of the same latents.
        others: models that :meth:`other` has loaded.
        control: the ControlNet that holds the U-Net, if one does.
        image_prompt: the picture that an IP-Adapter shows the U-Net, if one does.
        beside: the last ControlNet and the last IP-Adapter that were loaded, with their hashes.
        adapters: the files that changed parts of it (:mod:`studio.pipelines.adapters`).
    """

    card: ModelCard
    runtime: Runtime
    tokenizer: Any
    text_encoder: Any
    unet: Any
    vae: Any
    scheduler_config: Mapping[str, Any]
    weights_sha256: str
    tokenizer_2: Any = None
    text_encoder_2: Any = None
    force_zeros_for_empty_prompt: bool = False
    requires_aesthetics_score: bool = False
    upscaler: Any = None
    low_res_scheduler_config: Mapping[str, Any] | None = None
    max_noise_level: int = 350
    memory: Plan | None = None
    refiner: Components | None = None
    others: dict[str, Components] = field(default_factory=dict, repr=False)
    control: Control | None = None
    image_prompt: ImagePrompt | None = None
    beside: dict[str, tuple[str, Any]] = field(default_factory=dict, repr=False)
    adapters: tuple[Applied, ...] = ()

    @property
    def name(self) -> str:
        """The model's name."""
        return self.card.name

    @property
    def family(self) -> str:
        """The model's architecture."""
        return self.card.family

    @property
    def folder(self) -> Path:
        """The folder, or file, that the model was loaded from."""
        return self.card.path

    @cached_property
    def prompt_encoder(self) -> PromptEncoder:
        """Encodes prompts; keeps those it has seen as long as the model stays loaded."""
        from studio.pipelines import prompt_encoding

        towers = [(self.tokenizer, self.text_encoder), (self.tokenizer_2, self.text_encoder_2)]
        return prompt_encoding.prompt_encoder(
            [tower for tower in towers if tower[1] is not None],
            zero_empty_negative=self.force_zeros_for_empty_prompt,
            with_pooled=self.family == X2_UPSCALER,
        )

    def other(self, name: str) -> Components:
        """A model beside this one, on the same device; kept as long as this one stays loaded.

        Raises:
            ModelError: see :func:`load`.
        """
        if name not in self.others:
            self.others[name] = load(name, self.runtime)
        return self.others[name]

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of one picture's latents."""
        return (
            self.vae.config.latent_channels,
            height // self.card.scale,
            width // self.card.scale,
        )


def load(name_or_path: str, runtime: Runtime, *, allow_download: bool = False) -> Components:
    """Loads a model from disk; never from the network unless ``allow_download`` says so.

    Raises:
        ModelError: unknown model, unsupported family, missing, broken or unsafe weights.
        OutOfMemoryError: it does not fit.
    """
    about = card(name_or_path, allow_download=allow_download)
    import torch

    # Weights made under inference mode, where the caller is in it, could never be changed outside.
    with torch.inference_mode(mode=False):
        return _loaded(about, runtime)


def _loaded(about: ModelCard, runtime: Runtime) -> Components:
    config = about.scheduler_config
    if about.family in ENLARGING:
        from studio.pipelines import upscaling

        parts = upscaling.load(about, runtime)
        return Components(card=about, runtime=runtime, scheduler_config=config, **parts)
    from studio.pipelines import attention, memory_plan, recovery

    plan = memory_plan.plan(about, runtime)
    settled = replace(runtime, memory=plan.mode)
    load_parts: Callable[[], dict[str, Any]]
    if about.path.is_file():
        load_parts = partial(single_file.load, about.path, settled)
    else:
        load_parts = partial(diffusers_folder.load, about.path, about.name, settled)
    loaded = recovery.attempt(load_parts)
    if loaded is None:
        raise recovery.too_large_to_load(about.name, str(plan))
    attention.apply(runtime.attention, loaded["unet"], loaded["vae"])
    return Components(card=about, runtime=runtime, scheduler_config=config, memory=plan, **loaded)


def refined(base: Components, refiner: Components) -> Components:
    """The base with a model that finishes what it begins.

    Raises:
        ModelError: their latents mean different things.
    """
    names = ("latent_channels", "scaling_factor", "shift_factor")
    latents = [{name: model.vae.config.get(name) for name in names} for model in (base, refiner)]
    if latents[0] != latents[1] or base.card.scale != refiner.card.scale:
        raise ModelError(
            f"{refiner.name} ({refiner.family}) cannot go on with the latents of {base.name} "
            f"({base.family}).",
            valid="a refiner with the same VAE, such as the SDXL refiner for SDXL",
        )
    return replace(base, refiner=refiner)
