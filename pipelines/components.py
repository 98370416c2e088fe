"""The loaded parts of a model. Importing this loads no torch, and nothing is ever fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.pipelines import diffusers_folder
from studio.pipelines.cards import FAMILY, ModelCard, card, models

if TYPE_CHECKING:
    from studio.pipelines.conditioning import PromptEncoder
    from studio.pipelines.placement import Runtime

__all__ = ["FAMILY", "Components", "ModelCard", "card", "load", "models"]


@dataclass(frozen=True, eq=False)
class Components:
    """The loaded parts of a model, on their device and in their precision.

    Args:
        card: what the model is.
        runtime: where and how it computes.
        tokenizer: transformers' CLIP tokenizer.
        text_encoder: transformers' CLIP text model.
        unet: diffusers' UNet2DConditionModel.
        vae: diffusers' AutoencoderKL.
        scheduler_config: the noise schedule that the model was trained with.
        weights_sha256: fingerprint of the weight files (see :mod:`studio.pipelines.weights`).
    """

    card: ModelCard
    runtime: Runtime
    tokenizer: Any
    text_encoder: Any
    unet: Any
    vae: Any
    scheduler_config: Mapping[str, Any]
    weights_sha256: str

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
        """The folder that the model was loaded from."""
        return self.card.folder

    @cached_property
    def prompt_encoder(self) -> PromptEncoder:
        """Encodes prompts; keeps those it has seen as long as the model stays loaded."""
        from studio.pipelines.conditioning import PromptEncoder, TransformersConditioner

        return PromptEncoder(TransformersConditioner(self.tokenizer, self.text_encoder))

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of one picture's latents."""
        return (
            self.vae.config.latent_channels,
            height // self.card.scale,
            width // self.card.scale,
        )


def load(name_or_path: str, runtime: Runtime) -> Components:
    """Loads a model from disk; never from the network.

    Raises:
        ModelError: unknown model, unsupported family, missing, broken or unsafe weights.
    """
    about = card(name_or_path)
    parts = diffusers_folder.load(about.folder, about.name, runtime)
    from studio.pipelines import attention

    attention.apply(runtime.attention, parts["unet"], parts["vae"])
    return Components(card=about, runtime=runtime, **parts)
