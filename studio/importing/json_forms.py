"""Recipes as JSON: InvokeAI in its three generations, NovelAI and imaginAIry."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from studio.importing.draft import Draft, Texts, as_object, number, text, whole

_Table = Mapping[str, tuple[str, Callable[[Any], object]]]

_GPU = "The noise was drawn on a GPU: the same seed gives another picture here."
_BRACKETED = re.compile(r"\[([^\[\]]*)\]")

_INVOKE: _Table = {
    "positive_prompt": ("prompt", text),
    "negative_prompt": ("negative_prompt", text),
    "seed": ("seed", whole),
    "cfg_scale": ("guidance_scale", number),
    "cfg_rescale_multiplier": ("guidance_rescale", number),
    "steps": ("steps", whole),
    "strength": ("strength", number),
}
_INVOKE_HANDLED = {"width", "height", "scheduler", "model", "clip_skip", "rand_device"}
_INVOKE_SILENT = {"app_version", "generation_mode", "positive_style_prompt", "ref_images",
                  "negative_style_prompt", "_canvas_objects", "canvas_v2_metadata"}  # fmt: skip
_OLD_INVOKE: _Table = {
    "seed": ("seed", whole),
    "cfg_scale": ("guidance_scale", number),
    "steps": ("steps", whole),
    "strength": ("strength", number),
}
_DREAM: _Table = {
    "-S": ("seed", whole),
    "-C": ("guidance_scale", number),
    "-s": ("steps", whole),
    "-f": ("strength", number),
}
_NOVEL: _Table = {
    "seed": ("seed", whole),
    "scale": ("guidance_scale", number),
    "cfg_rescale": ("guidance_rescale", number),
    "steps": ("steps", whole),
    "uc": ("negative_prompt", text),
}
_NOVEL_SILENT = {"prompt", "width", "height", "sampler", "noise_schedule", "n_samples", "version",
                 "request_type", "signed_hash", "v4_prompt", "v4_negative_prompt"}  # fmt: skip
_IMAGINAIRY: _Table = {
    "seed": ("seed", whole),
    "prompt_strength": ("guidance_scale", number),
    "steps": ("steps", whole),
    "init_image_strength": ("strength", number),
    "tile_mode": ("seamless", bool),
}
_IMAGINAIRY_SILENT = {"prompts", "prompt", "negative_prompt", "width", "height", "size",
                      "sampler_type", "solver_type", "model", "model_weights", "model_config",
                      "caption_text", "inpaint_method"}  # fmt: skip


def read_invokeai(texts: Texts) -> Draft | None:
    """InvokeAI: ``invokeai_metadata``, the older ``sd-metadata``, the oldest ``Dream``."""
    found = as_object(texts.get("invokeai_metadata"))
    if found is not None:
        return _invoke(found, texts["invokeai_metadata"])
    found = as_object(texts.get("sd-metadata"))
    if found is not None and isinstance(found.get("image"), dict):
        return _old_invoke(found, texts["sd-metadata"])
    dream = texts.get("Dream") or texts.get("dream")
    return _dream(dream) if dream else None


def read_novelai(texts: Texts) -> Draft | None:
    """NovelAI: the prompt under ``Description``, the rest under ``Comment``."""
    found = as_object(texts.get("Comment"))
    if found is None or not ("uc" in found or texts.get("Software", "").startswith("NovelAI")):
        return None
    prompt = texts.get("Description") or str(found.get("prompt", ""))
    draft = Draft("NovelAI", f"{prompt}\n{texts['Comment']}", {"prompt": prompt})
    draft.take(found, _NOVEL)
    draft.sampler(found.get("sampler"), found.get("noise_schedule"))
    draft.size(found.get("width"), found.get("height"))
    if "{" in prompt:
        draft.lose("NovelAI weighs words by {braces}; here they are plain text.")
    draft.lose("NovelAI's model is not to be had elsewhere.")
    draft.rest(found, _NOVEL, _NOVEL_SILENT)
    return draft


def read_imaginairy(texts: Texts) -> Draft | None:
    """imaginAIry: JSON in EXIF's UserComment."""
    found = as_object(texts.get("parameters"))
    if found is None or not ("prompt_strength" in found or "sampler_type" in found):
        return None
    draft = Draft("imaginAIry", texts["parameters"])
    draft.fields["prompt"] = _weighted(draft, found.get("prompts") or found.get("prompt") or "")
    negative = _weighted(draft, found.get("negative_prompt") or "")
    if negative:
        draft.fields["negative_prompt"] = negative
    draft.take(found, _IMAGINAIRY)
    draft.sampler(found.get("solver_type") or found.get("sampler_type"))
    size = found.get("size")
    sides = size if isinstance(size, list) and len(size) == 2 else (None, None)
    draft.size(found.get("width") or sides[0], found.get("height") or sides[1])
    model = found.get("model_weights") or found.get("model")
    if isinstance(model, dict):
        model = model.get("name")
    draft.put("model", model, text)
    draft.rest(found, _IMAGINAIRY, _IMAGINAIRY_SILENT)
    return draft


def _invoke(found: dict[str, Any], source: str) -> Draft:
    draft = Draft("InvokeAI", source)
    draft.take(found, _INVOKE)
    draft.sampler(found.get("scheduler"))
    draft.size(found.get("width"), found.get("height"))
    skipped = found.get("clip_skip")
    if isinstance(skipped, int) and skipped > 0:  # there 0 = the last layer
        draft.fields["clip_skip"] = skipped + 1
    model = found.get("model")
    if isinstance(model, dict):
        draft.put("model", model.get("name") or model.get("model_name"), text)
    if found.get("rand_device", "cpu") != "cpu":
        draft.lose(_GPU)
    if any(mark in str(draft.fields.get("prompt", "")) for mark in (")+", ")-", "++", ".swap(")):
        draft.lose("InvokeAI weighs words by + and -; here they are plain text.")
    draft.rest(found, _INVOKE, _INVOKE_HANDLED | _INVOKE_SILENT)
    return draft


def _old_invoke(found: dict[str, Any], source: str) -> Draft:
    image = found["image"]
    draft = Draft("InvokeAI", source)
    _split_negative(draft, _weighted(draft, image.get("prompt") or ""))
    draft.take(image, _OLD_INVOKE)
    draft.sampler(image.get("sampler"))
    draft.size(image.get("width"), image.get("height"))
    draft.put("model", found.get("model_weights"), text)
    silent = {"prompt", "sampler", "width", "height", "type", "orig_hash", "postprocessing"}
    draft.rest(image, _OLD_INVOKE, silent)
    return draft


def _dream(source: str) -> Draft:
    """``"a cat [blurry]" -s 50 -S 1 -W 512 -H 512 -C 7.5 -A k_lms``."""
    draft = Draft("InvokeAI", source)
    try:
        words = shlex.split(source)
    except ValueError:
        words = [source]
    _split_negative(draft, words[0] if words else "")
    flags: dict[str, str] = {}
    for word, following in zip(words[1:], [*words[2:], ""], strict=True):
        if re.fullmatch(r"-[A-Za-z]", word):
            flags[word] = following
        elif re.fullmatch(r"-[A-Za-z]\S+", word):
            flags[word[:2]] = word[2:]
    draft.take(flags, _DREAM)
    draft.sampler(flags.get("-A"))
    draft.size(flags.get("-W"), flags.get("-H"))
    draft.rest(flags, _DREAM, {"-A", "-W", "-H"})
    return draft


def _split_negative(draft: Draft, prompt: str) -> None:
    """Old InvokeAI writes the negative prompt in square brackets within the prompt."""
    negative = ", ".join(part.strip() for part in _BRACKETED.findall(prompt))
    draft.fields["prompt"] = " ".join(_BRACKETED.sub(" ", prompt).split())
    if negative:
        draft.fields["negative_prompt"] = negative


def _weighted(draft: Draft, prompts: Any) -> str:
    """Prompts that come as a list with weights, joined."""
    if isinstance(prompts, str):
        return prompts
    parts = []
    for part in prompts if isinstance(prompts, list) else [prompts]:
        said = part.get("text") or part.get("prompt") if isinstance(part, dict) else part
        if not isinstance(said, str):
            continue
        parts.append(said)
        if isinstance(part, dict) and part.get("weight", 1) != 1:
            draft.lose(f"The weight {part['weight']} of the prompt {said[:40]!r}.")
    return ", ".join(parts)
