"""How much memory a model will need, from the headers of its files, and what to do about it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from studio.pipelines import diffusers_folder, families
from studio.pipelines.cards import ENLARGING, ModelCard
from studio.pipelines.checkpoint_names import PREFIXES
from studio.pipelines.diffusers_folder import read_json
from studio.pipelines.memory import free_bytes
from studio.pipelines.offload import TILES
from studio.pipelines.parts import TOWERS
from studio.pipelines.placement import AUTO, MEMORY, Runtime
from studio.pipelines.vae_tiling import decode_bytes
from studio.pipelines.weights import Header, check, checked_weights

log = logging.getLogger(__name__)

_COPIES = 24  # of the U-Net's first activation at the peak: judged by the peaks in docs/memory.md
_GROUPS = 0.08  # share of the weights that a GPU holds where layers come one after the other
_SHARE = 0.9  # of the free memory that is planned with
_GB = 1e9


@dataclass(frozen=True)
class Needs:
    """Bytes that drawing one picture takes: weights of each part, and work beside them.

    Args:
        towers: weights of the text encoders, in the precision in which they compute.
        unet: of the U-Net.
        unet_stored: of the U-Net as it lies in its file.
        unet_work: activations of a step with guidance.
        vae: weights of the VAE.
        vae_work: activations of decoding, by the memory mode.
    """

    towers: int
    unet: int
    unet_stored: int
    unet_work: int
    vae: int
    vae_work: Mapping[str, int]

    def peak(self, mode: str, device: str) -> int:
        """The most that is held at once in a memory mode, on that kind of device."""
        decoding = self.vae + self.vae_work[mode]
        if mode == "high":
            return self.towers + self.unet + max(self.vae + self.unet_work, decoding)
        text, unet = self.towers, self.unet
        if mode == "lowest" and device == "cuda":
            text, unet = int(_GROUPS * text), int(_GROUPS * unet)
        elif mode == "lowest":
            unet = min(unet, self.unet_stored)
        return max(self.vae + max(text, unet + self.unet_work), decoding)

    @classmethod
    def of(cls, card: ModelCard, runtime: Runtime, size: tuple[int, int]) -> Needs:
        """What a model needs for a picture of (width, height).

        Raises:
            ModelError: its files are missing or broken.
        """
        width, height = size
        parts = _parts(card)
        unet = parts["unet"]
        item, vae_item = runtime.dtype.itemsize, runtime.vae_dtype.itemsize
        first = unet.channels * (width // card.scale) * (height // card.scale)
        channels = _decoder_channels(card)
        return cls(
            towers=parts["towers"].numbers * item,
            unet=unet.numbers * item,
            unet_stored=unet.bytes,
            unet_work=2 * _COPIES * first * item,
            vae=parts["vae"].numbers * vae_item,
            vae_work={
                mode: decode_bytes(channels, vae_item, *(min(side, edge or side) for side in size))
                for mode, edge in TILES.items()
            },
        )


@dataclass(frozen=True)
class Plan:
    """How a model will use memory.

    Args:
        mode: "high", "low" or "lowest".
        needed: bytes at the peak with everything in memory.
        planned: bytes at the peak in ``mode``.
        free: bytes that were free before loading.
    """

    mode: str
    needed: int = 0
    planned: int = 0
    free: int = 0

    def __str__(self) -> str:
        """``needs 5.1 GB, 3.9 GB free: using low (2.9 GB)``."""
        gb = [f"{size / _GB:.1f} GB" for size in (self.needed, self.free, self.planned)]
        return f"needs {gb[0]}, {gb[1]} free: using {self.mode} ({gb[2]})"


def plan(card: ModelCard, runtime: Runtime, size: tuple[int, int] | None = None) -> Plan:
    """Settles the memory mode of a model before it loads, and says so where it is not "high".

    "auto" takes the first of high, low and lowest that fits free memory.

    Args:
        card: the model.
        runtime: where it will compute.
        size: (width, height) of the pictures, None: the model's own.

    Raises:
        ModelError: its files are missing or broken.
    """
    if card.family in ENLARGING:
        return Plan("high" if runtime.memory == AUTO else runtime.memory)
    needs = Needs.of(card, runtime, size or (card.defaults.width, card.defaults.height))
    device = torch.device(runtime.device)
    free, kind = free_bytes(device), device.type
    fitting = [mode for mode in MEMORY if needs.peak(mode, kind) <= _SHARE * free]
    mode = runtime.memory if runtime.memory != AUTO else [*fitting, MEMORY[-1]][0]
    made = Plan(mode, needs.peak("high", kind), needs.peak(mode, kind), free)
    tight = mode not in fitting
    settled = runtime.memory == AUTO and mode != "high"
    said = f"{card.name} {made}{', which may not suffice' if tight else ''}"
    log.log(logging.WARNING if tight or settled else logging.INFO, said)
    return made


@dataclass(frozen=True)
class _Tensors:
    """What the headers say of a part: how many numbers, in how many bytes; the first width."""

    numbers: int
    bytes: int
    channels: int


def _parts(card: ModelCard) -> dict[str, _Tensors]:
    """The parts of a model by name, its text encoders as "towers"."""
    if card.path.is_file():
        header = check(card.path)
        towers = tuple(prefix for part in TOWERS for prefix in PREFIXES[part])
        names = {"towers": towers, "unet": PREFIXES["unet"], "vae": PREFIXES["vae"]}
        return {part: _tensors([header], prefixes) for part, prefixes in names.items()}
    present = diffusers_folder.parts_of(card.path, card.name)
    headers = {
        part: [check(path) for path in checked_weights(card.path / part).files] for part in present
    }
    towers_headers = [header for part in TOWERS for header in headers.get(part, [])]
    return {
        "towers": _tensors(towers_headers),
        **{part: _tensors(headers[part]) for part in ("unet", "vae")},
    }


def _tensors(headers: Sequence[Header], prefixes: tuple[str, ...] = ("",)) -> _Tensors:
    numbers = size = channels = 0
    for header in headers:
        for name, shape in header.shapes.items():
            if not name.startswith(prefixes):
                continue
            count = math.prod(shape)
            numbers += count
            size += count * _ITEMSIZE.get(header.dtypes[name], 4)
            if name.endswith(("input_blocks.0.0.weight", "conv_in.weight")):
                channels = shape[0]
    return _Tensors(numbers, size, channels)


_ITEMSIZE = {"F64": 8, "I64": 8, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


def _decoder_channels(card: ModelCard) -> Sequence[int]:
    family = families.named(card.family)
    if card.path.is_file() and family is not None:
        channels: Sequence[int] = family.vae["block_out_channels"]
    else:
        channels = read_json(card.path / "vae" / "config.json", card.name)["block_out_channels"]
    return channels
