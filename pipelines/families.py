"""Families of models, recognised by the names and shapes of their tensors. Loads no torch.

A family's page in ``configs/families`` holds what tensors do not tell: configs of the parts, noise
schedule, native size. A page ``like`` another says only what differs from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from studio.errors import ModelError

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each tensor in a file, by name."""

_STEM = ("model.diffusion_model.input_blocks.0.0.weight", "conv_in.weight")
_VECTOR = (
    "model.diffusion_model.label_emb.0.0.weight",
    "add_embedding.linear_1.weight",
    "class_embedding.linear_1.weight",
)
_UNKNOWN = "no model of diffusion"
_GUIDANCE = (
    "model.diffusion_model.time_embed.cond_proj.weight",
    "time_embedding.cond_proj.weight",
)
_CONTEXT = re.compile(r"^(?:model\.diffusion_model\.)?\w.*\.attn2\.to_k\.weight$")


@dataclass(frozen=True)
class Marks:
    """What tells the U-Nets of the families apart.

    Args:
        in_channels: of the first convolution: latents, and what else the model sees.
        channels: features of the first level.
        context: features of a token that it attends to.
        blocks: transformer blocks.
        vector: features of what is embedded beside the time, 0 = nothing.
    """

    in_channels: int
    channels: int
    context: int
    blocks: int
    vector: int

    @classmethod
    def of(cls, shapes: Shapes) -> Marks | None:
        """Reads a U-Net in Stability's or diffusers' names; None where there is none."""
        stem = next((shapes[name] for name in _STEM if name in shapes), None)
        keys = [shape for name, shape in shapes.items() if _CONTEXT.match(name)]
        if stem is None or len(stem) != 4 or not keys or len(keys[0]) != 2:
            return None
        vector = next((shapes[name][1] for name in _VECTOR if name in shapes), 0)
        return cls(stem[1], stem[0], keys[0][1], len(keys), vector)


@dataclass(frozen=True)
class Tower:
    """A text encoder of a family.

    Args:
        kind: whose names it has in a single file, "clip" (transformers) or "open_clip".
        pad_token: what fills a window.
        config: of transformers' ``CLIPTextConfig``.
    """

    kind: str
    pad_token: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """An architecture with published weights.

    Args:
        name: what metadata and lists show.
        title: in words.
        marks: by which it is recognised.
        size: pixels along an edge of its native pictures.
        unet: config of diffusers' ``UNet2DConditionModel``.
        vae: config of diffusers' ``AutoencoderKL``.
        text_encoder: the first text encoder, if it has one.
        text_encoder_2: SDXL's second one, which also gives the pooled vector.
        scheduler: the noise schedule that it was trained with.
        low_res_scheduler: the noise that an upscaler's small picture is given.
        prediction_unknown: whether models of this family differ in what they predict.
        force_zeros_for_empty_prompt: whether no negative prompt means zeros.
        requires_aesthetics_score: whether the model is told how beautiful the picture is to be.
    """

    name: str
    title: str
    marks: Marks
    size: int
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoder: Tower | None
    text_encoder_2: Tower | None
    scheduler: Mapping[str, Any]
    low_res_scheduler: Mapping[str, Any] | None = None
    prediction_unknown: bool = False
    force_zeros_for_empty_prompt: bool = False
    requires_aesthetics_score: bool = False

    @property
    def scale(self) -> int:
        """Pixels along one latent's edge."""
        return int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def towers(self) -> dict[str, Tower]:
        """The text encoders by the names of their folders."""
        both = {"text_encoder": self.text_encoder, "text_encoder_2": self.text_encoder_2}
        return {name: tower for name, tower in both.items() if tower is not None}


@cache
def families() -> tuple[Family, ...]:
    """All families, by name."""
    folder = files("studio.configs") / "families"
    pages = {
        entry.name.removesuffix(".yaml"): yaml.safe_load(entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }
    return tuple(_family(name, _whole(pages, name)) for name in sorted(pages))


def recognise(shapes: Shapes) -> Family | None:
    """The family of a U-Net, or of a single file that holds one; None where it is none of ours."""
    marks = Marks.of(shapes)
    return next((family for family in families() if family.marks == marks), None)


def enlarges(shapes: Shapes) -> bool:
    """Whether a file may hold an upscaler of pictures: no diffusion, and a convolution over RGB."""
    sees_pictures = any(len(shape) == 4 and shape[1] in (1, 3, 12, 48) for shape in shapes.values())
    return sees_pictures and Marks.of(shapes) is None and what_it_is(shapes) == _UNKNOWN


def check_inputs(shapes: Shapes, path: Path) -> None:
    """Refuses U-Nets that want what the studio's loop does not give.

    Raises:
        ModelError: guidance is an input of the U-Net, as in consistency models trained in full.
    """
    if any(name in shapes for name in _GUIDANCE):
        raise ModelError(
            f"The U-Net in {path} takes guidance as an input (a latent consistency model).",
            valid="the model that it was distilled from, or one without such an input",
        )


def named(name: str) -> Family | None:
    """The family of this name."""
    return next((family for family in families() if family.name == name), None)


def what_it_is(shapes: Shapes) -> str:
    """Words for a file that is no model of ours: ``a LoRA``, ``a text inversion`` ..."""
    marks = Marks.of(shapes)
    if marks is not None:
        sizes = ", ".join(f"{name} {value}" for name, value in asdict(marks).items())
        return f"a U-Net of no known family ({sizes})"
    signs = (
        (r"\.lora_|^lora_|\.(?:hada|lokr)_", "a LoRA, which goes with a model"),
        (r"^control_model\.|^controlnet_|^input_hint_block\.", "a ControlNet"),
        (r"^emb_params$|^string_to_param|^clip_[lg]$", "a textual inversion"),
        (r"double_blocks\.|joint_blocks\.|^transformer_blocks\.", "a transformer, not a U-Net"),
        (r"^(?:first_stage_model\.|vae\.)?(?:encoder|decoder)\.", "a VAE without a U-Net"),
        (r"text_model\.|^transformer\.resblocks\.", "a text encoder without a U-Net"),
    )
    for pattern, words in signs:
        if _any(pattern, shapes):
            return words
    return _UNKNOWN


def _any(pattern: str, names: Iterable[str]) -> bool:
    sign = re.compile(pattern)
    return any(sign.search(name) for name in names)


def _whole(pages: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    page = pages[name]
    return _merged(_whole(pages, page["like"]), page) if "like" in page else dict(page)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _family(name: str, page: dict[str, Any]) -> Family:
    page.pop("like", None)
    first, second = page.pop("text_encoder", None), page.pop("text_encoder_2", None)
    return Family(
        name=name,
        marks=Marks(**page.pop("marks")),
        text_encoder=Tower(**first) if first else None,
        text_encoder_2=Tower(**second) if second else None,
        **page,
    )
