"""Models in diffusers' folder layout, safetensors only. Importing this loads no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelError
from studio.pipelines.weights import checked_weights, fingerprint

if TYPE_CHECKING:
    from studio.pipelines.placement import Runtime

_PARTS = ("text_encoder", "unet", "vae")
_CONFIGURED = (*_PARTS, "scheduler", "tokenizer")


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
    index = read_json(folder / "model_index.json", name)
    if index.get("_class_name") != "StableDiffusionPipeline":
        raise ModelError(
            f"The model in {folder} is a {index.get('_class_name')}.",
            valid="a StableDiffusionPipeline",
        )
    scheduler_config = read_json(folder / "scheduler" / "scheduler_config.json", name)
    variants = {part: checked_weights(folder / part) for part in _PARTS}
    paths = [path for weights in variants.values() for path in weights.files]
    # The same weights draw otherwise under another configuration or vocabulary.
    paths += [path for part in _CONFIGURED for path in (folder / part).glob("*.json")]
    with quiet():
        parts = {
            part: _load_part(folder / part, variants[part].variant, runtime) for part in _PARTS
        }
        tokenizer = _tokenizer(folder / "tokenizer")
    return {
        "tokenizer": tokenizer,
        "scheduler_config": scheduler_config,
        "weights_sha256": fingerprint(folder, paths),
        **parts,
    }


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


def _load_part(folder: Path, variant: str | None, runtime: Runtime) -> Any:
    options: dict[str, Any] = {
        "use_safetensors": True,
        "local_files_only": True,
        "output_loading_info": True,
        "variant": variant,
    }
    dtype = runtime.vae_dtype if folder.name == "vae" else runtime.dtype
    try:
        if folder.name == "text_encoder":
            model, info = _model_class(folder.name).from_pretrained(folder, dtype=dtype, **options)
        else:
            model, info = _model_class(folder.name).from_pretrained(
                folder, torch_dtype=dtype, **options
            )
    except Exception as error:  # whatever a library raises, the user sees one line
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
    model = model.requires_grad_(False).eval().to(runtime.device)
    # Convolutions are several times faster in this layout on CPUs, and on GPUs in half precision.
    return model if folder.name == "text_encoder" else _channels_last(model)


def _channels_last(model: Any) -> Any:
    import torch

    return model.to(memory_format=torch.channels_last)


def _model_class(part: str) -> Any:
    if part == "text_encoder":
        from transformers import CLIPTextModel

        return CLIPTextModel
    if part == "unet":
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        return UNet2DConditionModel
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL


def _tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    valid = "tokenizer.json, or vocab.json and merges.txt"
    # Without its files, CLIPTokenizer would make up a vocabulary of three words.
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise ModelError(f"{folder} holds no CLIP tokenizer.", valid=valid)
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise ModelError(f"{folder}: the tokenizer cannot be read.", valid=valid) from error


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
