"""What tiles cost and save: the error against the whole picture, peak memory and time.

    python -m benchmarks.tiling --model mini --size 512 --tile 256

Errors are in levels of 0 to 255. "seam" is the largest step that the error makes between two
neighbouring columns or rows, taken as means along them: what the eye finds first.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.command_line import command_line
from studio import Studio
from studio.pipelines import stages, vae_tiling
from studio.pipelines.tiling import over_tiles

_MMAP_THRESHOLD = -3  # of malloc.h
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Cost:
    """Seconds, and the peak in bytes above what was held before; 0 where it cannot be known."""

    seconds: float
    peak: int

    def __str__(self) -> str:
        return f"{self.seconds:6.2f} s, peak {self.peak / 2**20:7.0f} MiB"


@dataclass(frozen=True)
class Error:
    """How far a picture is from another, in levels of 0 to 255."""

    mean: float
    worst_of_100: float
    largest: float
    seam: float

    @classmethod
    def of(cls, picture: Tensor, whole: Tensor) -> Error:
        """Compares pictures [1, 3, H, W] in [-1, 1]."""
        difference = (picture.clamp(-1, 1) - whole.clamp(-1, 1)) * 127.5
        size = difference.abs()
        ranked = size.flatten().sort().values
        seams = [difference.mean(axis).diff(dim=-1).abs().max() for axis in (-1, -2)]
        return cls(
            float(size.mean()),
            float(ranked[int(0.99 * len(ranked))]),
            float(size.max()),
            float(max(seams)),
        )

    def __str__(self) -> str:
        return (
            f"mean {self.mean:6.3f}, 99% below {self.worst_of_100:6.2f}, "
            f"largest {self.largest:6.2f}, seam {self.seam:6.3f}"
        )


def measured(work: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, Cost]:
    """A result with the time and the memory that it took."""
    before = _held(device, reset=True)
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    return result, Cost(seconds, max(0, _held(device, peak=True) - before))


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    options = _options(arguments)
    with suppress(OSError, AttributeError):  # else glibc keeps what is freed, and it counts as held
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**18)
    vae = Studio(options.model, device=options.device).load().vae
    scale = vae_tiling.latent_scale(vae)
    edge = options.tile // scale
    image = Image.open(options.picture).convert("RGB").crop((0, 0, options.size, options.size))
    picture = stages.to_tensor(image).to(vae.device, vae.dtype)
    print(f"{options.model}, {options.size} px in tiles of {edge * scale} px, {vae.device}")
    seen, cost = measured(lambda: vae_tiling.encode(vae, picture).mean, vae.device)
    print(f"encode whole         {cost}")
    tiled, cost = measured(lambda: vae_tiling.encode(vae, picture, edge).mean, vae.device)
    difference = float((tiled - seen).abs().mean() / seen.std())
    print(f"encode tiles         {cost}  mean difference {difference:.4f} deviations")
    whole, cost = measured(lambda: vae_tiling.decode(vae, seen), vae.device)
    print(f"decode whole         {cost}")
    named = vae_tiling.peak_bytes(vae, options.size, options.size)
    print(f"decode whole, named  {' ' * 10}peak {named / 2**20:7.0f} MiB")
    ways: dict[str, Callable[[], Tensor]] = {
        "tiles": lambda: vae_tiling.decode(vae, seen, edge),
        "tiles, own norms": lambda: _own_norms(vae, seen, edge),
        "tiles of diffusers": lambda: _diffusers(vae, seen, edge),
    }
    for name, way in ways.items():
        drawn, cost = measured(way, vae.device)
        print(f"{name:<20} {cost}  {Error.of(drawn, whole)}")


def _own_norms(vae: Any, latents: Tensor, edge: int) -> Tensor:
    """Our tiles, each normalised by itself."""

    def run(tile: Tensor) -> Tensor:
        return vae_tiling.decode(vae, tile)

    scale = vae_tiling.latent_scale(vae)
    return over_tiles(run, latents, edge=edge, overlap=vae_tiling.overlap_of(edge), scale=scale)


def _diffusers(vae: Any, latents: Tensor, edge: int) -> Tensor:
    vae.enable_tiling()
    vae.tile_latent_min_size, vae.tile_sample_min_size = edge, edge * vae_tiling.latent_scale(vae)
    try:
        return vae_tiling.decode(vae, latents)
    finally:
        vae.disable_tiling()


def _held(device: torch.device, *, reset: bool = False, peak: bool = False) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        if reset:
            torch.cuda.reset_peak_memory_stats(device)
        kind = torch.cuda.max_memory_allocated if peak else torch.cuda.memory_allocated
        return kind(device)
    try:  # Linux only
        if reset:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            _CLEAR.write_text("5")
        name = "VmHWM" if peak else "VmRSS"
        found = re.search(rf"{name}:\s+(\d+)", _STATUS.read_text())
    except (OSError, AttributeError):
        return 0
    return int(found[1]) * 1024 if found else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line("tiling", __doc__, model=True)
    parser.add_argument("--device", default="auto", help="where to draw (auto)")
    parser.add_argument("--size", type=int, default=512, help="pixels along an edge (512)")
    parser.add_argument("--tile", type=int, default=256, help="of a tile (256)")
    picture = Path(__file__).parents[1] / "docs" / "pictures" / "sheet.png"
    parser.add_argument("--picture", type=Path, default=picture, help="what is seen (the sheet)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
