"""How well the upscaler enlarges drawings that it has never seen, against plain resampling.

    python -m benchmarks.super_resolution --data runs/crops.safetensors --sheet sheet.png

The drawings are rendered at both sizes (``studio train upscaler_data`` holds them out); what is
compared is PSNR over the whole picture, the mean over drawings.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from studio import Studio
from studio.training.upscaler_data import Crops
from studio.verify import psnr

Enlarge = Callable[[Image.Image], Image.Image]


def resampling(how: Image.Resampling, times: int) -> Enlarge:
    """Plain resampling, ``times`` as large."""
    return lambda small: small.resize((small.width * times, small.height * times), how)


def by_model(studio: Studio, times: int, steps: int | None) -> Enlarge:
    """The upscaler, the same seed for every picture."""

    def enlarge(small: Image.Image) -> Image.Image:
        request = studio.resolve("", init_image=small, upscale=times, seed=0, steps=steps)
        return next(studio.generate(request)).image

    return enlarge


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="upscaler")
    parser.add_argument("--steps", type=int, action="append", help="may be repeated")
    parser.add_argument("--limit", type=int, default=64, help="drawings")
    parser.add_argument("--sheet", type=Path, help="some of the drawings side by side")
    options = parser.parse_args()
    crops, studio = Crops.load(options.data), Studio(options.model)
    large, small = (
        [Image.fromarray(picture.numpy()) for picture in pictures[: options.limit]]
        for pictures in (crops.heldout_large, crops.heldout_small)
    )
    times = large[0].width // small[0].width
    ways: dict[str, Enlarge] = {
        "bicubic": resampling(Image.Resampling.BICUBIC, times),
        "lanczos": resampling(Image.Resampling.LANCZOS, times),
    }
    for steps in options.steps or [None]:
        name = f"{options.model}, {steps} steps" if steps else options.model
        ways[name] = by_model(studio, times, steps)
        ways[name](small[0])  # loads the weights
    drawn = {}
    for name, enlarge in ways.items():
        clock = time.perf_counter()
        drawn[name] = [enlarge(picture) for picture in small]
        seconds = (time.perf_counter() - clock) / len(small)
        scores = [psnr(a, b) or 0.0 for a, b in zip(drawn[name], large, strict=True)]
        print(f"{name}: {statistics.mean(scores):.2f} dB, {seconds:.2f} s a picture", flush=True)
    if options.sheet:
        sheet(small, [drawn["lanczos"], drawn[name], large]).save(options.sheet)


def sheet(small: list[Image.Image], ways: list[list[Image.Image]], rows: int = 4) -> Image.Image:
    """A row a drawing: the middle of the small picture as it is, then of each way."""
    side = ways[0][0].width // 2
    page = Image.new("RGB", (side * (1 + len(ways)), side * rows), "white")
    for row in range(min(rows, len(small))):
        plain = small[row].resize(ways[0][0].size, Image.Resampling.NEAREST)
        for column, picture in enumerate((plain, *(way[row] for way in ways))):
            box = (side // 2, side // 2, side // 2 + side, side // 2 + side)
            page.paste(picture.crop(box), (column * side, row * side))
    return page


if __name__ == "__main__":
    main()
