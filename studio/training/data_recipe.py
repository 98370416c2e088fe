"""The recipe that a set of training drawings is made from, as it stands in ``configs/training``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from studio.errors import StudioError
from studio.training.recipe import Frozen, own_recipe, read


class Package(Frozen):
    """One package of the registry: what is fetched, what it must say, whom to thank."""

    name: str
    version: str
    licence: str = Field(description="SPDX name that the package itself must state")
    credit: str = Field(description="who drew or wrote it, and where")
    sha256: str | None = Field(None, description="of the archive; None accepts any")

    @property
    def spec(self) -> str:
        """``name@version``, as the package client wants it."""
        return f"{self.name}@{self.version}"

    @property
    def archive(self) -> str:
        """The file name that the package client gives the archive."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


class Style(Frozen):
    """One way of drawing: a package of drawings and how they are named.

    ``aliases`` maps an icon's name in the package to the hexcode of what it shows, where neither
    its code point nor its name tells; ``without`` lists icons that are broken or misleading.
    """

    id: str
    package: str
    family: str = Field(description="styles that share their geometry are held out together")
    words: tuple[str, ...] = Field(min_length=1, description="what a caption calls the style")
    naming: Literal["code", "file", "name"] = Field(
        description="joined by chars.json, by the file's code point, or by the icon's name"
    )
    numbered: bool = Field(False, description="'bird-1', 'bird-2' are two drawings of a bird")
    aliases: dict[str, str] = Field(default_factory=dict)
    without: tuple[str, ...] = ()


class IconSet(Frozen):
    """A package of icons of one colour, joined by name."""

    package: str
    family: str = Field("", description="of the styles that it shares its geometry with")


class DataRecipe(Frozen):
    """Everything that decides what is in the file of drawings."""

    name: str
    size: int = Field(128, ge=8, le=1024, description="side of the square pictures in pixels")
    fill: float = Field(0.94, gt=0, le=1, description="share of the side that the subject fills")
    quality: int | None = Field(
        None, ge=1, le=100, description="of the WebP colours (alpha is exact); None is lossless"
    )
    heldout: float = Field(0.05, ge=0, lt=1, description="share of (concept, family) cells")
    packages: tuple[Package, ...]
    labels: str = Field(description="package with labels and tags (emojibase-data)")
    keywords: str = Field(description="package with more English keywords (emojilib)")
    faces: str | None = Field(None, description="package with the parts of cartoon faces")
    dictionary: str | None = Field(None, description="package with WordNet's files")
    vectors: str | None = Field(None, description="package with word vectors, as JSON")
    styles: tuple[Style, ...] = Field(min_length=1)
    silhouettes: tuple[IconSet, ...] = ()
    silhouette_side: int = Field(64, ge=8, le=256, description="in pixels")
    without_groups: frozenset[str] = frozenset()
    without_subgroups: frozenset[str] = frozenset()
    keep: frozenset[str] = Field(frozenset(), description="labels kept all the same")
    everyday_groups: frozenset[str] = frozenset()
    not_everyday: frozenset[str] = Field(frozenset(), description="subgroups and labels")
    relabel: dict[str, str] = Field(default_factory=dict, description="label -> better label")
    slang: frozenset[str] = Field(frozenset(), description="keywords to drop")
    most_keywords: int = Field(12, ge=0)

    def package(self, name: str) -> Package:
        """The package called ``name``.

        Raises:
            StudioError: the recipe lists no such package.
        """
        for package in self.packages:
            if package.name == name:
                return package
        known = ", ".join(sorted(p.name for p in self.packages))
        raise StudioError(f"The data recipe {self.name!r} lists no package {name!r}.", valid=known)


def load_recipe(path: Path | None = None) -> DataRecipe:
    """Read a data recipe (the one that comes with the studio, unless ``path`` names another).

    Raises:
        StudioError: the file is missing, is no YAML, or a field is missing, unknown or wrong.
    """
    return read(DataRecipe, path or own_recipe("data"), "data recipe")
