"""Model cards, and the parts of a model loaded from disk. Importing this loads no torch.

A model is a folder in diffusers' Stable Diffusion layout with safetensors weights, either one
that a card in ``configs/cards`` names or any other folder. Nothing is ever fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from studio.errors import ModelError, RequestError
from studio.pipelines.request import Defaults, Request
from studio.pipelines.weights import checked_weights, fingerprint

if TYPE_CHECKING:
    from studio.pipelines.conditioning import PromptEncoder
    from studio.pipelines.placement import Runtime

FAMILY = "stable-diffusion"
_PARTS = ("text_encoder", "unet", "vae")
_CONFIGURED = (*_PARTS, "scheduler", "tokenizer")
_PLAIN = ("DPM++ 2M", "Automatic", 25, 7.0)  # sampler, schedule, steps, guidance without a card


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model without loading its weights.

    Args:
        name: what users type and metadata show.
        folder: the diffusers folder.
        family: architecture, "stable-diffusion" (1.x and 2.x).
        licence: SPDX name of the weights' licence, empty if unknown.
        description: one line.
        defaults: fills what a request leaves open.
    """

    name: str
    folder: Path
    family: str
    licence: str
    description: str
    defaults: Defaults

    @property
    def scale(self) -> int:
        """Pixels along one latent's edge. Read from the folder.

        Raises:
            ModelError: the decoder's config cannot be read.
        """
        config = _read_json(self.folder / "vae" / "config.json", self.name)
        return int(2 ** (len(config["block_out_channels"]) - 1))

    def check(self, request: Request) -> None:
        """Refuses a size that this model's latents cannot hold.

        Raises:
            RequestError: width or height; names the nearest sizes.
        """
        for field in ("width", "height"):
            size: int = getattr(request, field) or self.scale
            low = size // self.scale * self.scale
            if size != low:
                raise RequestError(
                    field,
                    size,
                    f"the model {self.name} draws in multiples of {self.scale} pixels",
                    valid=f"{low} or {low + self.scale}" if low else f"{self.scale}",
                )


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
        return (self.unet.config.in_channels, height // self.card.scale, width // self.card.scale)


@cache
def models() -> tuple[ModelCard, ...]:
    """The cards of all models in the box, by name."""
    root = files("studio.configs")
    cards = []
    for entry in (root / "cards").iterdir():
        if entry.name.endswith(".yaml"):
            fields = yaml.safe_load(entry.read_text(encoding="utf-8"))
            folder = Path(str(root / fields.pop("folder")))
            defaults = Defaults(**fields.pop("defaults"))
            cards.append(ModelCard(folder=folder, defaults=defaults, **fields))
    return tuple(sorted(cards, key=lambda card: card.name))


def card(name_or_path: str) -> ModelCard:
    """The card of a model in the box, or one made up for a diffusers folder.

    Raises:
        ModelError: no such model; lists the known ones.
    """
    for known in models():
        if known.name == name_or_path:
            return known
    folder = Path(name_or_path)
    if not (folder / "model_index.json").is_file():
        what = "holds no model_index.json" if folder.is_dir() else "is no known model or folder"
        names = ", ".join(known.name for known in models())
        raise ModelError(
            f"model = {name_or_path!r} {what}.",
            valid=f"{names}, or the path of a Stable Diffusion folder in diffusers' layout",
        )
    sample = _read_json(folder / "unet" / "config.json", folder.name).get("sample_size") or 64
    height, width = sample if isinstance(sample, list) else (sample, sample)
    made = ModelCard(
        folder.resolve().name, folder, FAMILY, "", f"The folder {folder}", _defaults(64, 64)
    )
    return replace(made, defaults=_defaults(width * made.scale, height * made.scale))


def load(name_or_path: str, runtime: Runtime) -> Components:
    """Loads a model from disk; never from the network.

    Raises:
        ModelError: unknown model, unsupported family, missing, broken or unsafe weights.
    """
    about = card(name_or_path)
    index = _read_json(about.folder / "model_index.json", about.name)
    if index.get("_class_name") != "StableDiffusionPipeline":
        raise ModelError(
            f"The model in {about.folder} is a {index.get('_class_name')}.",
            valid="a StableDiffusionPipeline",
        )
    scheduler_config = _read_json(about.folder / "scheduler" / "scheduler_config.json", about.name)
    variants = {part: checked_weights(about.folder / part) for part in _PARTS}
    paths = [path for weights in variants.values() for path in weights.files]
    # The same weights draw otherwise under another configuration or vocabulary.
    paths += [path for part in _CONFIGURED for path in (about.folder / part).glob("*.json")]
    with _quiet():
        parts = {
            part: _load_part(about.folder / part, variants[part].variant, runtime)
            for part in _PARTS
        }
        tokenizer = _tokenizer(about.folder / "tokenizer")
    from studio.pipelines import attention

    attention.apply(runtime.attention, parts["unet"], parts["vae"])
    return Components(
        card=about,
        runtime=runtime,
        tokenizer=tokenizer,
        scheduler_config=scheduler_config,
        weights_sha256=fingerprint(about.folder, paths),
        **parts,
    )


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


def _defaults(width: int, height: int) -> Defaults:
    sampler, schedule, steps, guidance_scale = _PLAIN
    return Defaults(sampler, schedule, steps, guidance_scale, width, height)


def _read_json(path: Path, model: str) -> dict[str, Any]:
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


@contextmanager
def _quiet() -> Iterator[None]:
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
