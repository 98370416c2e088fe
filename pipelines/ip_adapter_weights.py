"""IP-Adapters on disk: found, with their image encoder, and checked before anything loads.

They come as one safetensors file, and CLIP's image encoder in a folder ``image_encoder`` beside it
(https://arxiv.org/abs/2308.06721). Importing this loads no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import ModelError
from studio.pipelines.diffusers_folder import read_json
from studio.pipelines.families import Shapes, what_it_is
from studio.pipelines.weights import check, checked_weights, fingerprint

ENCODER = "image_encoder"

_PLAIN = "image_proj.proj.weight"  # sees the vector that CLIP gives of the whole picture
_PLUS = "image_proj.proj_in.weight"  # and these two CLIP's last layer but one, place by place
_FULL = "image_proj.proj.3.weight", "image_proj.proj.0.weight"


@dataclass(frozen=True)
class Found:
    """An IP-Adapter on disk.

    Args:
        file: its weights, checked.
        encoder: folder of the image encoder that it was trained with.
    """

    file: Path
    encoder: Path

    def weights_sha256(self) -> str:
        """The fingerprint of both (see :mod:`studio.pipelines.weights`), without loading them."""
        seen_by = [*checked_weights(self.encoder).files, self.encoder / "config.json"]
        both = fingerprint(self.file.parent, [self.file]), fingerprint(self.encoder, seen_by)
        return hashlib.sha256("\n".join(both).encode()).hexdigest()


def find(path: Path) -> Found:
    """The adapter at ``path``, a safetensors file or a folder with one.

    The image encoder is the folder ``image_encoder`` beside it, or ``models/image_encoder`` next
    to its folder, whichever has as many features as the adapter reads.

    Raises:
        ModelError: there is none, it is broken, of a kind that is not supported, or without its
            encoder.
    """
    file = _file(path)
    shapes = check(file).shapes
    name, features = _reads(file, shapes)
    folders = [file.parent / ENCODER, file.parent.parent / "models" / ENCODER]
    for folder in folders:
        if not (folder / "config.json").is_file():
            continue
        if read_json(folder / "config.json", file.name).get(name) == features:
            checked_weights(folder)
            return Found(file, folder)
    raise ModelError(
        f"The IP-Adapter {file} reads a CLIP image encoder whose {name} is {features}, and none "
        "lies beside it.",
        valid=f"the encoder's folder as {folders[0]}",
    )


def check_goes_with(path: Path, unet: Mapping[str, Any], model: str) -> None:
    """Refuses an adapter that was made for another architecture than the model's.

    Args:
        path: of the adapter.
        unet: config of the model's U-Net.
        model: its name.

    Raises:
        ModelError: says in what they differ; also as for :func:`find`.
    """
    shapes = check(find(path).file).shapes
    keys = [shape for name, shape in shapes.items() if name.endswith("to_k_ip.weight")]
    wanted = unet.get("cross_attention_dim", 1280), unet.get("block_out_channels")
    have = keys[0][1], sorted({shape[0] for shape in keys})
    if have[0] != wanted[0] or (wanted[1] and not set(have[1]) <= set(wanted[1])):
        raise ModelError(
            f"The IP-Adapter {path} was made for another architecture than {model}: its text has "
            f"{have[0]} features, not {wanted[0]}, or its layers {have[1]}.",
            valid=f"an IP-Adapter for {model}'s family",
        )


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    if len(files) == 1:
        return files[0]
    if files:
        names = ", ".join(file.name for file in files)
        raise ModelError(f"{path} holds several adapters.", valid=f"one of {names}")
    raise ModelError(
        f"There is no IP-Adapter at {path}.", valid="a .safetensors file, or a folder with one"
    )


def _reads(file: Path, shapes: Shapes) -> tuple[str, int]:
    """What an adapter needs to know of its image encoder: the name of a size, and the size."""
    if not any(name.endswith("to_k_ip.weight") for name in shapes):
        raise ModelError(f"{file} holds {what_it_is(shapes)}.", valid="an IP-Adapter")
    if _PLAIN in shapes:
        return "projection_dim", shapes[_PLAIN][1]
    if _PLUS in shapes:
        return "hidden_size", shapes[_PLUS][1]
    if all(name in shapes for name in _FULL):
        return "hidden_size", shapes[_FULL[1]][1]
    raise ModelError(
        f"{file} is an IP-Adapter that sees faces by another network (FaceID).",
        valid="IP-Adapter, Plus or Full Face, which see pictures by CLIP",
    )
