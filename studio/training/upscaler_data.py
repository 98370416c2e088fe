"""``studio train upscaler_data``: crops of drawings, rendered large and four times smaller.

The file is one safetensors file: ``large`` uint8 [N, 128, 128, 3] and ``small`` uint8
[N, 32, 32, 3] to learn from, ``heldout_large`` [M, 512, 512, 3] and ``heldout_small``
[M, 128, 128, 3], whole drawings that nothing learns from.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from studio.errors import StudioError
from studio.training.data_recipe import DataRecipe, load_recipe
from studio.training.drawings import Cell, is_heldout, read_cells
from studio.training.options import TrainOptions
from studio.training.recipe import Frozen, own_recipe, read
from studio.training.rendering import draw_svg
from studio.training.scenes import BACKGROUNDS

FACTOR = 4
"""How many times smaller the small picture is along an edge."""

WHOLE = 512
"""Side of the held-out drawings in pixels."""

Pixels = npt.NDArray[np.uint8]
Rng = np.random.Generator


class UpscalerDataRecipe(Frozen):
    """What the crops are made of. Sides in pixels of the large picture.

    Attributes:
        drawings: how many are rendered, drawn at random from the data recipe's vector drawings.
        crops: of each drawing.
        crop: side of a crop.
        sides: of the renderings, each as likely as it stands here.
        white: share of white backgrounds; the others have a colour.
        reduced: share of small pictures made by reducing the large one (Lanczos) rather than by
            rendering small.
        flat: share of crops that may show next to nothing.
        heldout: whole drawings for measuring.
    """

    drawings: int = Field(gt=0)
    crops: int = Field(gt=0)
    crop: int = Field(128, multiple_of=16)
    sides: tuple[int, ...] = (384, 512, 512, 640)
    white: float = 0.5
    reduced: float = 0.4
    flat: float = 0.05
    heldout: int = Field(gt=0)
    seed: int = 0


@dataclass(frozen=True)
class Crops:
    """The file that :func:`prepare` wrote."""

    large: Tensor
    small: Tensor
    heldout_large: Tensor
    heldout_small: Tensor

    @classmethod
    def load(cls, path: Path) -> Crops:
        """Read the file ``path``.

        Raises:
            StudioError: it is missing or something else.
        """
        try:
            return cls(**load_file(path))
        except (OSError, SafetensorError, TypeError) as error:
            raise StudioError(
                f"{path} is no file of crops: {error}.",
                valid="a file made by studio train upscaler_data",
            ) from error


def prepare(
    recipe: UpscalerDataRecipe, drawings: DataRecipe, out: Path, *, cache: Path | None = None
) -> Crops:
    """Render, crop and write the file ``out``. The same recipe gives the same pixels.

    Args:
        drawings: names the packages, and what is held out.
        cache: folder of package archives.

    Raises:
        UnavailableError: a package cannot be fetched, or the renderer is missing.
        StudioError: a package is not what the recipe says.
    """
    cells, _ = read_cells(drawings, cache)
    rng = np.random.default_rng(recipe.seed)
    kept: dict[bool, list[Cell]] = {True: [], False: []}
    for i in rng.permutation(len(cells)):
        cell = cells[i]
        if isinstance(cell.source, str):
            kept[is_heldout(cell.concept.code, cell.style.family, drawings.heldout)].append(cell)
    pairs: list[tuple[Pixels, Pixels]] = []
    chosen = kept[False][: recipe.drawings]
    for index, cell in enumerate(chosen):
        pairs += _crops(cell, recipe, np.random.default_rng((recipe.seed, index)))
        if index % 500 == 499:
            print(f"rendered {index + 1}/{len(chosen)}", flush=True)
    drawn = (_rendered(str(cell.source), WHOLE, rng, white=True) for cell in kept[True])
    whole = list(islice((pair for pair in drawn if pair is not None), recipe.heldout))
    parts = [*zip(*pairs, strict=True), *zip(*whole, strict=True)]
    crops = Crops(*(torch.from_numpy(np.stack(part)) for part in parts))
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(vars(crops), out)
    return crops


def _rendered(
    svg: str, side: int, rng: Rng, *, white: bool = False, reduced: bool = False
) -> tuple[Pixels, Pixels] | None:
    """The drawing on one background, at ``side`` pixels and four times smaller."""
    background: tuple[int, ...] = (255, 255, 255)
    if not white:
        shades = [rgb for _, rgb in BACKGROUNDS.values()]
        shade = shades[int(rng.integers(len(shades)))] + rng.normal(0, 12, size=3)
        background = tuple(int(c) for c in np.clip(shade, 0, 255))
    try:
        large = _on(background, draw_svg(svg, side), side)
        small = large if reduced else _on(background, draw_svg(svg, side // FACTOR), side // FACTOR)
    except (ValueError, OSError):
        return None
    if reduced:
        small = large.resize((side // FACTOR,) * 2, Image.Resampling.LANCZOS)
    return np.asarray(large), np.asarray(small)


def _on(background: tuple[int, ...], png: bytes, side: int) -> Image.Image:
    canvas = Image.new("RGBA", (side, side), background)
    with Image.open(io.BytesIO(png)) as drawing:
        canvas.alpha_composite(drawing.convert("RGBA"))
    return canvas.convert("RGB")


def _crops(cell: Cell, recipe: UpscalerDataRecipe, rng: Rng) -> list[tuple[Pixels, Pixels]]:
    side = int(rng.choice(recipe.sides))
    white, reduced = rng.random() < recipe.white, rng.random() < recipe.reduced
    pair = _rendered(str(cell.source), side, rng, white=white, reduced=reduced)
    if pair is None:
        return []
    large, small = pair
    extent = recipe.crop // FACTOR
    found = []
    for _ in range(recipe.crops):
        flat = rng.random() < recipe.flat
        for _ in range(8):
            y, x = rng.integers(0, small.shape[0] - extent + 1, size=2)
            low = small[y : y + extent, x : x + extent]
            if flat or low.std(axis=(0, 1)).max() > 12:
                break
        y, x = FACTOR * y, FACTOR * x
        found.append((large[y : y + recipe.crop, x : x + recipe.crop], low))
    return found


def run(options: TrainOptions) -> None:
    """Write the file of crops to ``options.out``; ``--data`` may name another data recipe."""
    where = options.recipe or own_recipe("upscaler_data")
    recipe = read(UpscalerDataRecipe, where, "recipe of crops", options.overrides)
    crops = prepare(recipe, load_recipe(options.data), options.out)
    size = options.out.stat().st_size / 1e6
    print(
        f"{len(crops.large)} crops, {len(crops.heldout_large)} held-out drawings: "
        f"{options.out}, {size:.0f} MB"
    )
