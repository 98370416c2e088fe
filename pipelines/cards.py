"""Model cards: what is known of a model without loading its weights. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from studio.errors import ModelError, RequestError
from studio.pipelines import (
    control_weights,
    diffusers_folder,
    families,
    hub,
    ip_adapter_weights,
    registry,
    single_file,
    weights,
)
from studio.pipelines.adapter_files import Asked
from studio.pipelines.diffusers_folder import read_json
from studio.pipelines.request import Defaults, Request
from studio.schedulers import compatibility

FAMILY = "stable-diffusion"
"""Family of models in that architecture, but of no published size."""

UPSCALER = "upscaler"
"""Family of those that enlarge pictures in latent space, as Stable Diffusion's x4."""

X2_UPSCALER = "x2-latent-upscaler"
"""Family of Stable Diffusion's x2 upscaler, which sees the small picture's latents."""

ENLARGING = ("esrgan", "lanczos")
"""Families of upscalers of pixels, without latents (see :mod:`studio.pipelines.upscaling`)."""

_NOISE_LEVEL = 20  # as diffusers' upscaling pipeline has it
_PLAIN = ("DPM++ 2M", "Automatic", 25, 7.0)  # sampler, schedule, steps, guidance without a card
_X2 = ("Euler", "Automatic", 20, 1.0)  # the same of Stable Diffusion's x2 upscaler


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model without loading its weights.

    Args:
        name: what users type and metadata show.
        path: a folder in diffusers' layout, or a single safetensors file.
        family: name of a page in ``configs/families``, or "stable-diffusion" for other sizes.
        licence: SPDX name of the weights' licence, empty if unknown.
        description: one line.
        defaults: fills what a request leaves open.
        prediction: what the model predicts where that was said by hand, else empty.
    """

    name: str
    path: Path
    family: str
    licence: str
    description: str
    defaults: Defaults
    prediction: str = ""

    @property
    def folder(self) -> Path:
        """The model's folder, or the file that it is."""
        return self.path

    @property
    def scale(self) -> int:
        """Pixels along one latent's edge.

        Raises:
            ModelError: the decoder's config cannot be read.
        """
        family = families.named(self.family)
        if self.path.is_file() and family is not None:
            return family.scale
        config = read_json(self.path / "vae" / "config.json", self.name)
        return int(2 ** (len(config["block_out_channels"]) - 1))

    @property
    def unet_config(self) -> Mapping[str, Any]:
        """Config of the U-Net, as diffusers has it.

        Raises:
            ModelError: it cannot be read.
        """
        family = families.named(self.family)
        if self.path.is_file() and family is not None:
            return family.unet
        return read_json(self.path / "unet" / "config.json", self.name)

    @property
    def times(self) -> int:
        """How many times an upscaler in latent space enlarges.

        Raises:
            ModelError: as for :attr:`scale`.
        """
        return 2 if self.family == X2_UPSCALER else self.scale

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        """The noise schedule that the model was trained with, as diffusers' config.

        Raises:
            ModelError: it cannot be read.
        """
        if self.family in ENLARGING:
            return {}
        if self.path.is_file():
            config = single_file.scheduler_config(self.path)
        else:
            config = read_json(self.path / "scheduler" / "scheduler_config.json", self.name)
        if config.get("prediction_type") == "original_sample":  # its name in old configs
            config = {**config, "prediction_type": "sample"}
        return {**config, "prediction_type": self.prediction} if self.prediction else config

    def weights_sha256(self) -> str:
        """The fingerprint that pictures of this model carry, without loading it.

        Raises:
            ModelError: weights are missing, broken or unsafe.
        """
        if self.family == "lanczos":
            return "0" * 64
        if self.path.is_file():
            return weights.fingerprint(self.path.parent, [self.path])
        return diffusers_folder.weights_sha256(self.path, self.name)

    def check(self, request: Request) -> None:
        """Refuses what this model cannot draw, before its weights load.

        Raises:
            RequestError: width or height; names the nearest sizes. ``upscale`` of a model that
                draws, or its lack with an upscaler. A sampler that cannot work with what the
                model predicts.
            ModelError: the request's refiner, its ControlNet, one of its LoRAs and the like, or
                the model's own config is missing or broken, or they do not go together.
        """
        enlarges = self.family in (*ENLARGING, UPSCALER, X2_UPSCALER)
        if enlarges and request.upscale is None:
            raise RequestError(
                "upscale",
                None,
                f"{self.name} enlarges pictures only",
                valid="init_image, and upscale from 1 to 4",
            )
        for field in ("control", "ip_adapter"):
            if enlarges and (path := getattr(request, field)) is not None:
                raise RequestError(
                    field, path, f"{self.name} enlarges pictures only", valid="a model that draws"
                )
        if enlarges and Asked.by(request):
            raise RequestError("model", self.name, "takes no LoRA, textual inversion or VAE",
                               valid="a model that draws")  # fmt: skip
        if enlarges:
            return
        if request.upscale is not None:
            raise RequestError(
                "upscale",
                request.upscale,
                f"the model {self.name} draws pictures, it enlarges none",
                valid="the model upscaler or lanczos, or the file of an upscaler",
            )
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
        if request.sampler is not None and request.steps is not None:
            compatibility.check(request.sampler, request.steps, self.scheduler_config)
        if request.refiner is not None:
            card(request.refiner)
        if request.control is not None:
            control_weights.check_goes_with(
                Path(request.control), self.unet_config, self.scale, self.name
            )
        if request.ip_adapter is not None:
            ip_adapter_weights.check_goes_with(
                Path(request.ip_adapter), self.unet_config, self.name
            )
        Asked.by(request).check()


def models() -> tuple[ModelCard, ...]:
    """The cards of all models that have a name: those in the box, then those added and sound."""
    added = []
    for entry in registry.entries():
        with suppress(ModelError):  # moved or broken since; `card` says what is wrong with it
            added.append(_added(entry))
    return (*_in_the_box(), *added)


def card(name_or_path: str, *, allow_download: bool = False) -> ModelCard:
    """The card of a model in the box, or one made up for any other.

    Args:
        name_or_path: a name that ``studio models`` lists, a folder in diffusers' layout, a single
            safetensors file, or a hub id with its revision.
        allow_download: whether a model of the hub that is not here may be fetched.

    Raises:
        ModelError: no such model; broken, unsafe or of an unknown kind.
    """
    for known in _in_the_box():
        if known.name == name_or_path:
            return known
    for entry in registry.entries():
        if entry.name == name_or_path:
            return _added(entry)
    if name_or_path == "lanczos":
        return _upscaler("lanczos", Path())
    path = Path(name_or_path)
    if path.is_file():
        return _of_file(path)
    if (path / "model_index.json").is_file():
        return _of_folder(path)
    if not path.exists() and hub.looks_like_id(name_or_path) and not path.suffix:
        found = _of_folder(hub.folder(name_or_path, allow_download=allow_download))
        return replace(found, name=name_or_path, description=f"{name_or_path} of the hub")
    what = "holds no model_index.json" if path.is_dir() else "is no known model, folder or file"
    added = [entry.name for entry in registry.entries()]
    names = ", ".join([*(known.name for known in _in_the_box()), *added])
    raise ModelError(
        f"model = {name_or_path!r} {what}.",
        valid=f"{names}, the path of a folder in diffusers' layout or of a .safetensors file",
    )


def weights_size(path: Path) -> int:
    """Bytes of the weights of a model, folder or file; 0 where there are none."""
    paths = [path] if path.is_file() else path.rglob("*.safetensors")
    return sum(path.stat().st_size for path in paths)


@cache
def _in_the_box() -> tuple[ModelCard, ...]:
    root = files("studio.configs")
    cards = []
    for entry in (root / "cards").iterdir():
        if entry.name.endswith(".yaml"):
            fields = yaml.safe_load(entry.read_text(encoding="utf-8"))
            path = Path(str(root / fields.pop("folder")))
            defaults = Defaults(**fields.pop("defaults"))
            cards.append(ModelCard(path=path, defaults=defaults, **fields))
    return tuple(sorted(cards, key=lambda card: card.name))


def _added(entry: registry.Entry) -> ModelCard:
    path = Path(entry.path)
    if not path.exists():
        raise ModelError(
            f"The model {entry.name} is gone: {path}.",
            valid=f"studio models remove {entry.name}, or its files back in their place",
        )
    if (size := weights_size(path)) != entry.size:
        raise ModelError(
            f"The model {entry.name} has changed since it was added: {path} has {size:,} bytes, "
            f"not {entry.size:,}.",
            valid=f"studio models add {path} --name {entry.name}, if that is right",
        )
    found = _of_file(path) if path.is_file() else _of_folder(path)
    return replace(found, name=entry.name, licence=entry.licence, prediction=entry.prediction or "")


def _upscaler(family: str, path: Path) -> ModelCard:
    title = "Resampling by Lanczos" if family == "lanczos" else "An upscaler of pictures"
    return ModelCard(path.stem or family, path, family, "", title, _defaults(64, 64))


def _of_file(path: Path) -> ModelCard:
    if families.enlarges(weights.check(path).shapes):
        return _upscaler("esrgan", path)
    family = single_file.family_of(path)
    size = single_file.native_size(path, family)
    defaults = (_enlarging if family.name == UPSCALER else _defaults)(size, size)
    return ModelCard(path.stem, path, family.name, "", family.title, defaults)


def _of_folder(folder: Path) -> ModelCard:
    name = folder.resolve().name
    family = diffusers_folder.family_of(folder, name)
    sample = read_json(folder / "unet" / "config.json", name).get("sample_size") or 64
    height, width = sample if isinstance(sample, list) else (sample, sample)
    kind = read_json(folder / "model_index.json", name)["_class_name"]
    title = "An upscaler in latent space"
    if kind == diffusers_folder.UPSCALER:
        return ModelCard(name, folder, UPSCALER, "", title, _enlarging(4 * width, 4 * height))
    if kind == diffusers_folder.X2_UPSCALER:
        defaults = Defaults(*_X2, 8 * width, 8 * height, upscale=2, noise_level=0)
        return ModelCard(name, folder, X2_UPSCALER, "", title, defaults)
    made = ModelCard(
        name,
        folder,
        family.name if family else FAMILY,
        "",
        family.title if family else f"The folder {folder}",
        _defaults(64, 64),
    )
    return replace(made, defaults=_defaults(width * made.scale, height * made.scale))


def _defaults(width: int, height: int) -> Defaults:
    sampler, schedule, steps, guidance_scale = _PLAIN
    return Defaults(sampler, schedule, steps, guidance_scale, width, height)


def _enlarging(width: int, height: int) -> Defaults:
    return replace(_defaults(width, height), upscale=4, noise_level=_NOISE_LEVEL)
