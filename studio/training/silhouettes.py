"""Icons of one colour: many more shapes of the things that the drawings show.

They come from icon sets and are joined to concepts by name alone. No caption or picture of mini is
made of them; painted (:mod:`studio.training.painting`), they teach the image tower what one thing
may look like.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from studio.training.captions import Concept, slug
from studio.training.data_recipe import DataRecipe
from studio.training.icons import read_icons
from studio.training.rendering import silhouette
from studio.training.sources import Source

MEMBERS = ("silhouettes.json", "silhouettes.webp")
"""Members of a file of drawings: the concepts, and all silhouettes in one picture."""

_COLUMNS = 64
_LEVELS = 8
_MOST = 3  # icons of one thing and set: they are much alike
_HOW_DRAWN = frozenset(
    {
        "alt", "bold", "duotone", "face", "fill", "filled", "flat", "head", "icon", "line",
        "linear", "outline", "outlined", "regular", "round", "rounded", "sharp", "solid", "variant",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Silhouettes:
    """What each shows (its concept's hexcode) and how much it covers: uint8 [N, S, S]."""

    concepts: tuple[str, ...]
    alphas: npt.NDArray[np.uint8]

    def to_members(self) -> dict[str, bytes]:
        """The members of a file of drawings, by name."""
        count, side = self.alphas.shape[:2]
        sheet = np.zeros((count // _COLUMNS + 1, _COLUMNS, side, side), np.uint8)
        sheet.reshape(-1, side, side)[:count] = self.alphas
        picture = io.BytesIO()
        whole = sheet.swapaxes(1, 2).reshape(-1, _COLUMNS * side)
        Image.fromarray(whole).save(picture, "WEBP", lossless=True, quality=80, method=4)
        index = json.dumps({"side": side, "concepts": self.concepts})
        return dict(zip(MEMBERS, (index.encode(), picture.getvalue()), strict=True))

    @classmethod
    def from_members(cls, index: bytes, picture: bytes) -> Silhouettes:
        """Read what :meth:`to_members` made.

        Raises:
            ValueError: it is not that.
        """
        stated = json.loads(index)
        side, concepts = stated["side"], tuple(stated["concepts"])
        with Image.open(io.BytesIO(picture)) as image:
            whole = np.asarray(image.convert("L"))
        sheet = whole.reshape(-1, side, _COLUMNS, side).swapaxes(1, 2).reshape(-1, side, side)
        return cls(concepts, sheet[: len(concepts)])


def collect(
    recipe: DataRecipe,
    sources: Mapping[str, Source],
    concepts: Mapping[str, Concept],
    names: Mapping[str, str],
    heldout: Callable[[str, str], bool],
) -> Silhouettes:
    """Draw the icons of the recipe's sets that are called as something that drawings show.

    Args:
        names: plain code by slug of a name.
        heldout: whether a (hexcode, family) cell is kept from training; its icons are left out.

    Raises:
        UnavailableError: the renderer is not installed.
    """
    found: list[tuple[str, npt.NDArray[np.uint8]]] = []
    for icons in recipe.silhouettes:
        taken: Counter[str] = Counter()
        seen = set()
        for icon in read_icons(sources[icons.package], "name"):
            called = (names.get(slug(name)) for name in _names(icon.name))
            code = next(filter(None, called), "")
            if code not in concepts or taken[code] == _MOST or icon.source in seen:
                continue
            concept = concepts[code].code
            if icons.family and heldout(concept, icons.family):
                continue
            drawn = silhouette(icon.source, recipe.silhouette_side, recipe.fill)
            if drawn is not None:
                taken[code] += 1
                seen.add(icon.source)
                found.append((concept, _fewer_levels(drawn)))
    side = recipe.silhouette_side
    alphas = np.stack([drawn for _, drawn in found]) if found else np.zeros((0, side, side))
    return Silhouettes(tuple(concept for concept, _ in found), alphas.astype(np.uint8))


def _names(name: str) -> Iterator[str]:
    """``cat-face-fill``, then ``cat-face``, then ``cat``: without what says how it is drawn."""
    words = name.split("-")
    yield name
    while len(words) > 1 and (words[-1] in _HOW_DRAWN or words[-1].isdigit()):
        words.pop()
        yield "-".join(words)


def _fewer_levels(alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    step = 255 / (_LEVELS - 1)
    return np.rint(np.rint(alpha / step) * step).astype(np.uint8)
