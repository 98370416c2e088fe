"""Model cards: what is known of a model without loading its weights. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml

from studio.errors import ModelError, RequestError
from studio.pipelines.diffusers_folder import read_json
from studio.pipelines.request import Defaults, Request

FAMILY = "stable-diffusion"
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
        config = read_json(self.folder / "vae" / "config.json", self.name)
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
    sample = read_json(folder / "unet" / "config.json", folder.name).get("sample_size") or 64
    height, width = sample if isinstance(sample, list) else (sample, sample)
    made = ModelCard(
        folder.resolve().name, folder, FAMILY, "", f"The folder {folder}", _defaults(64, 64)
    )
    return replace(made, defaults=_defaults(width * made.scale, height * made.scale))


def _defaults(width: int, height: int) -> Defaults:
    sampler, schedule, steps, guidance_scale = _PLAIN
    return Defaults(sampler, schedule, steps, guidance_scale, width, height)
