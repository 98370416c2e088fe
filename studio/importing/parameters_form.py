"""Recipes as text under ``parameters``: ours, AUTOMATIC1111, Forge, SD.Next, stable-diffusion.cpp
and Fooocus, whose other form is one JSON object under the same key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from studio.errors import PictureError, RequestError
from studio.importing.draft import Draft, Texts, as_object, number, text, whole
from studio.metadata import Recipe
from studio.parameters import split_parameters

_TABLE: Mapping[str, tuple[str, Callable[[Any], object]]] = {
    "Steps": ("steps", whole),
    "CFG scale": ("guidance_scale", number),
    "CFG rescale": ("guidance_rescale", number),
    "Guidance start": ("guidance_start", number),
    "Guidance end": ("guidance_end", number),
    "Seed": ("seed", whole),
    "Clip skip": ("clip_skip", whole),
    "Model": ("model", text),
    "Variation seed": ("variation_seed", whole),
    "Variation seed strength": ("variation_strength", number),
    "Variation strength": ("variation_strength", number),  # SD.Next
}
_HIRES: Mapping[str, tuple[str, Callable[[Any], object]]] = {
    "Hires upscale": ("hires_scale", number),
    "Hires scale": ("hires_scale", number),  # SD.Next
    "Hires steps": ("hires_steps", whole),
    "Hires strength": ("hires_strength", number),
    "Hires upscaler": ("hires_upscaler", text),
}
_HANDLED = {"Sampler", "Schedule type", "Size", "Denoising strength", "RNG", "Tiling", "App"}
_SILENT = {"Model hash", "Version", "Batch", "Batch size", "Batch pos", "Hires size", "Parser",
           "Pipeline", "VAE hash", "Metadata scheme", "Lora hashes", "TI hashes", "Hashes",
           "Module 1", "Module 2", "Module 3", "Operations", "Backend", "Init image",
           "Prompt lines", "Lora weights", "VAE"}  # fmt: skip
_FOOOCUS: Mapping[str, tuple[str, Callable[[Any], object]]] = {
    "prompt": ("prompt", text),
    "negative_prompt": ("negative_prompt", text),
    "steps": ("steps", whole),
    "guidance_scale": ("guidance_scale", number),
    "seed": ("seed", whole),
    "base_model": ("model", text),
    "clip_skip": ("clip_skip", whole),
}
_FOOOCUS_SILENT = {"base_model_hash", "metadata_scheme", "version", "created_by", "full_prompt",
                   "full_negative_prompt", "vae", "refiner_model_hash"}  # fmt: skip
_EXTRA_NETWORK = re.compile(r"<(hypernet):([^:>]+)[^>]*>")


def read_own(texts: Texts) -> Draft | None:
    """A picture of this studio: its exact recipe."""
    if "studio" not in texts:
        return None
    try:
        recipe = Recipe.model_validate_json(texts["studio"])
    except ValidationError:
        return None  # the text form beside it may still be read
    except RequestError as error:
        raise PictureError(f"The recipe cannot be used: {error}") from None
    draft = Draft("Latent Studio", recipe.parameters())
    fields = recipe.request.model_dump()
    defaults = type(recipe.request).model_fields
    draft.fields = {
        name: value for name, value in fields.items() if value != defaults[name].default
    }
    draft.fields["prompt"] = recipe.request.prompt
    if recipe.request.model == "mini":
        draft.fields["model"] = "mini"
    return draft


def read(texts: Texts) -> Draft | None:
    """The text form, or Fooocus' JSON."""
    source = texts.get("parameters")
    if source is None:
        return None
    found = as_object(source)
    if found is not None:
        return (
            _fooocus(found, source) if "metadata_scheme" in found or "base_model" in found else None
        )
    written, separator, _ = source.partition("SDCPP:")
    prompt, negative, pairs = split_parameters(
        written.rstrip().rstrip(",") if separator else source
    )
    if not pairs:
        return None
    draft = Draft(_tool(texts, pairs, bool(separator)), source)
    draft.fields = {"prompt": prompt.rstrip("\n"), "negative_prompt": negative.rstrip("\n")}
    draft.take(pairs, _TABLE)
    draft.sampler(pairs.get("Sampler"), pairs.get("Schedule type"))
    width, _, height = pairs.get("Size", "").partition("x")
    draft.size(width, height)
    _second_drawing(draft, pairs)
    if pairs.get("Tiling", "").lower() == "true":
        draft.fields["seamless"] = True
    if draft.source == "SD.Next" and "CFG scale" not in pairs:
        draft.fields["guidance_scale"] = 1.0  # left out there where nothing is guided
    if draft.source == "Fooocus":
        draft.put("model", pairs.get("Base model"), text)
    if pairs.get("RNG", "GPU") != "CPU":
        draft.lose("The noise was drawn on a GPU: the same seed gives another picture here.")
    for kind, name in _EXTRA_NETWORK.findall(prompt):
        draft.lose(f"The {kind} {name} is not applied.")
    draft.rest(pairs, {**_TABLE, **_HIRES}, _HANDLED | _SILENT | {"Base model"})
    return draft


def _second_drawing(draft: Draft, pairs: Mapping[str, str]) -> None:
    """AUTOMATIC1111 says "Denoising strength" both of a second drawing and of image to image."""
    strength = pairs.get("Denoising strength")
    if "Hires upscale" not in pairs and "Hires scale" not in pairs:
        draft.put("strength", strength, number)
        return
    draft.take({"Hires strength": strength, **pairs}, _HIRES)
    upscaler = str(draft.fields.pop("hires_upscaler", "Latent"))
    draft.fields["hires_upscaler"] = "lanczos" if upscaler.lower() == "lanczos" else "latent"
    if upscaler.lower() not in ("latent", "lanczos"):
        draft.lose(f"The upscaler {upscaler} of the second drawing became latent.")
    if draft.fields.get("hires_steps") == 0:  # there: as many as the first
        del draft.fields["hires_steps"]


def _tool(texts: Texts, pairs: Mapping[str, str], is_cpp: bool) -> str:
    version = pairs.get("Version", "")
    if is_cpp or "stable-diffusion.cpp" in version:
        return "stable-diffusion.cpp"
    if "fooocus_scheme" in texts or version.startswith("Fooocus"):
        return "Fooocus"
    if "SD.Next" in pairs.get("App", "") or "Variation strength" in pairs or "Parser" in pairs:
        return "SD.Next"
    if version.startswith("latent-studio"):
        return "Latent Studio"
    return "Forge" if version.startswith("f") else "AUTOMATIC1111"


def _fooocus(found: dict[str, Any], source: str) -> Draft:
    draft = Draft("Fooocus", source)
    draft.take(found, _FOOOCUS)
    draft.sampler(found.get("sampler"), found.get("scheduler"))
    sides = re.findall(r"\d+", str(found.get("resolution", "")))
    if len(sides) == 2:
        draft.size(*sides)
    if found.get("styles") and found["styles"] != "[]":
        draft.lose(f"Fooocus' styles {found.pop('styles')} change the prompt there.")
    draft.lose("The noise was drawn on a GPU: the same seed gives another picture here.")
    draft.rest(found, _FOOOCUS, _FOOOCUS_SILENT | {"sampler", "scheduler", "resolution", "styles"})
    return draft
