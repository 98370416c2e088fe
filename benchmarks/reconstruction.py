"""How much of a drawing does the VAE keep? PSNR of drawings that training left out, there and back.

python -m benchmarks.reconstruction --data drawings.zip --sheet docs/pictures/reconstruction.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from benchmarks.command_line import command_line
from benchmarks.sheet import labelled_sheet
from studio.pipelines.components import load
from studio.pipelines.placement import Runtime
from studio.training.dataset import Drawings
from studio.training.scenes import SceneMaker, SceneMix
from studio.training.vae import heldout_pictures, psnr, to_pixels

SHOWN = 16
"""Drawings on the sheet."""


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the mean PSNR of all held-out drawings, and of those of each style."""
    parser = command_line("reconstruction", __doc__, model=True, data=True)
    parser.add_argument("--sheet", type=Path, help="PNG of some, each beside what comes back")
    options = parser.parse_args(arguments)
    maker = SceneMaker(Drawings.load(options.data), SceneMix())
    rows = maker.drawings.rows
    left_out = [n for n, row in enumerate(rows) if row.heldout]
    names, styles = zip(*((rows[n].label["en"], rows[n].style) for n in left_out), strict=True)
    vae = load(options.model, Runtime("cpu", "fp32", "auto")).vae
    real = heldout_pictures(maker, left_out)
    drawn = torch.cat(
        [vae.decode(vae.encode(x).latent_dist.mode()).sample for x in torch.split(real, 16)]
    )
    kept = psnr(real, drawn)
    print(f"{len(left_out)} held-out drawings: {kept.mean():.2f} dB")
    for style in sorted(set(styles)):
        own = kept[[one == style for one in styles]]
        print(f"{style:<16} {own.mean():.2f} dB  ({len(own)} drawings)")
    if options.sheet:
        some = range(0, len(left_out), len(left_out) // SHOWN)[:SHOWN]
        pairs = torch.stack([real[some], drawn[some]], 1).flatten(0, 1)
        pictures = [Image.fromarray(pixels) for pixels in to_pixels(pairs)]
        labels = [text for n in some for text in (names[n], f"{kept[n]:.1f} dB")]
        labelled_sheet(pictures, labels).save(options.sheet)


if __name__ == "__main__":
    main()
