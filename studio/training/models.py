"""The libraries' models that are trained here. They carry no types, so each is named once."""

from __future__ import annotations

from typing import Any, TypeAlias

Vae: TypeAlias = Any
"""diffusers' AutoencoderKL."""

Unet: TypeAlias = Any
"""diffusers' UNet2DConditionModel."""

Clip: TypeAlias = Any
"""open_clip's CLIP: both towers."""

TextEncoder: TypeAlias = Any
"""transformers' CLIPTextModel."""

Tokenizer: TypeAlias = Any
"""transformers' CLIPTokenizer, or one of CLIP's form (:func:`studio.training.tokens.reading`)."""

NoiseSchedule: TypeAlias = Any
"""A scheduler of diffusers."""
