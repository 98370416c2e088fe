"""Models in diffusers' folder layout, safetensors only. Importing this loads no torch."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelError
from studio.pipelines.clip_tokenizer import read_tokenizer
from studio.pipelines.families import Family, check_inputs, recognise
from studio.pipelines.parts import (
    PARTS,
    TOWERS,
    TRANSFORMERS,
    held_dtype,
    model_class,
    quiet,
    ready,
)
from studio.pipelines.weights import Weights, check, checked_weights, fingerprint

if TYPE_CHECKING:
    from studio.pipelines.placement import Runtime

UPSCALER = "StableDiffusionUpscalePipeline"
X2_UPSCALER = "StableDiffusionLatentUpscalePipeline"
PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    UPSCALER,
    X2_UPSCALER,
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
)
"""Whose folders can be drawn with."""

LOW_RES, CONFIG = "low_res_scheduler", "scheduler_config.json"
_NOISE_LEVELS = 350  # where model_index.json does not say, as diffusers has it


def load(folder: Path, name: str, runtime: Runtime) -> dict[str, Any]:
    """The parts of a model, on the runtime's device and in its precision.

    Args:
        folder: with ``model_index.json``.
        name: the model's name, for errors.
        runtime: where and how it computes.

    Returns:
        The fields of ``Components`` but for card and runtime.

    Raises:
        ModelError: unsupported pipeline, missing, broken or unsafe weights or configs.
    """
    from studio.pipelines.offload import Residency

    index = read_index(folder, name)
    present, tokenizers = _present(index)
    residency = Residency(runtime)
    weights = {part: checked_weights(folder / part) for part in present}
    parts: dict[str, Any] = {"text_encoder": None, "tokenizer": None}
    with quiet():
        for part in present:
            loading = partial(load_part, folder / part, weights[part], runtime)
            parts[part] = residency.take(part, loading)
        for part in tokenizers:
            parts[part] = _tokenizer(folder / part)
    if index["_class_name"] == UPSCALER:
        parts["low_res_scheduler_config"] = read_json(folder / LOW_RES / CONFIG, name)
        parts["max_noise_level"] = int(index.get("max_noise_level", _NOISE_LEVELS))
    if index["_class_name"] == X2_UPSCALER:
        parts["max_noise_level"] = 0
    return {
        "weights_sha256": weights_sha256(folder, name),
        "force_zeros_for_empty_prompt": bool(index.get("force_zeros_for_empty_prompt")),
        "requires_aesthetics_score": bool(index.get("requires_aesthetics_score")),
        **parts,
    }


def weights_sha256(folder: Path, name: str) -> str:
    """The fingerprint of a model (see :mod:`studio.pipelines.weights`), without loading it.

    Raises:
        ModelError: unsupported pipeline, missing, broken or unsafe weights.
    """
    present, tokenizers = _present(read_index(folder, name))
    paths = [path for part in present for path in checked_weights(folder / part).files]
    # The same weights draw otherwise under another configuration or vocabulary.
    configured = (*present, "scheduler", LOW_RES, *tokenizers)
    paths += [path for part in configured for path in (folder / part).glob("*.json")]
    return fingerprint(folder, paths)


def read_index(folder: Path, name: str) -> dict[str, Any]:
    """``model_index.json`` of a model that can be drawn with.

    Raises:
        ModelError: it is missing, or of another kind of pipeline.
    """
    index = read_json(folder / "model_index.json", name)
    if index.get("_class_name") not in PIPELINES:
        raise ModelError(
            f"The model in {folder} is a {index.get('_class_name')}.", valid=", ".join(PIPELINES)
        )
    return index


def family_of(folder: Path, name: str) -> Family | None:
    """The family of a model's U-Net, by its tensors; None where it is of no published size.

    Raises:
        ModelError: the pipeline is unsupported, or the U-Net's weights are missing or broken.
    """
    index = read_index(folder, name)
    shapes: dict[str, tuple[int, ...]] = {}
    for path in checked_weights(folder / "unet").files:
        shapes.update(check(path).shapes)
    if index["_class_name"] != X2_UPSCALER:  # whose time has company that is no guidance
        check_inputs(shapes, folder)
    return recognise(shapes)


def parts_of(folder: Path, name: str) -> list[str]:
    """The parts of a model that have weights, by the names of their folders.

    Raises:
        ModelError: see :func:`read_index`.
    """
    return _present(read_index(folder, name))[0]


def _present(index: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The parts with weights, and the tokenizers of the text encoders among them."""
    towers = [part for part in TOWERS if _given(index, part)]
    present = [part for part in PARTS if part not in TOWERS or part in towers]
    return present, [part.replace("text_encoder", "tokenizer") for part in towers]


def _given(index: dict[str, Any], part: str) -> bool:
    return bool(index.get(part) and index[part][0])


def read_json(path: Path, model: str) -> dict[str, Any]:
    """A config as a dict.

    Raises:
        ModelError: missing, or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise ModelError(
            f"{path} of the model {model} {why}.", valid="a complete copy of the model's folder"
        ) from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds no JSON object.", valid="a diffusers config")
    return content


def load_part(folder: Path, weights: Weights, runtime: Runtime, part: str = "") -> Any:
    """A part on the runtime's device and in its precision.

    Args:
        folder: with ``config.json``.
        weights: of the folder.
        runtime: where and how it computes.
        part: what it is, else its folder's name says it.

    Raises:
        ModelError: the weights do not fit the config, or lack something.
    """
    part = part or folder.name
    stored = {check(path).dtype() for path in weights.files}
    dtype = held_dtype(part, runtime, stored.pop() if len(stored) == 1 else "")
    options: dict[str, Any] = {
        "use_safetensors": True,
        "local_files_only": True,
        "output_loading_info": True,
        "variant": weights.variant,
    }
    options["dtype" if part in TRANSFORMERS else "torch_dtype"] = dtype
    try:
        kind = str(read_json(folder / "config.json", part).get("_class_name"))
        model, info = model_class(part, kind).from_pretrained(folder, **options)
    except Exception as error:  # whatever a library raises, the user sees one line
        from studio.pipelines.recovery import is_out_of_memory

        if is_out_of_memory(error):
            raise
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{folder} cannot be loaded: {line}.", valid="weights that fit config.json"
        ) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ModelError(
            f"{folder} lacks {len(missing)} weights, the first being {missing[0]}.",
            valid="weights that fit config.json",
        )
    return ready(model, part, runtime)


def _tokenizer(folder: Path) -> Any:
    valid = "tokenizer.json, or vocab.json and merges.txt"
    # Without its files, CLIPTokenizer would make up a vocabulary of three words.
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise ModelError(f"{folder} holds no CLIP tokenizer.", valid=valid)
    try:
        return read_tokenizer(folder)
    except Exception as error:
        raise ModelError(f"{folder}: the tokenizer cannot be read.", valid=valid) from error
