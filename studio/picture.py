"""One drawn picture with all that is known about it."""

from __future__ import annotations

import string
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from studio.errors import OutputError
from studio.files import check_name, safe_stem, write_new
from studio.metadata import FORMATS, Recipe, encode_picture
from studio.pipelines.request import Request
from studio.pipelines.timings import Timings

NAME = "{seed}_{prompt}"
"""The template of file names, without their ending."""

_SLUG_BYTES = 120


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn picture.

    Args:
        image: RGB, ``request.width`` x ``request.height`` pixels unless the request enlarges it.
        request: the request as run: resolved, of this one picture.
        recipe: what else a redraw needs: weights, versions, device, pixel hash.
    """

    image: Image.Image
    request: Request
    recipe: Recipe

    @property
    def seed(self) -> int:
        """The seed of this picture."""
        seed = self.request.seed
        assert seed is not None, "the request of a picture is resolved"
        return seed

    @property
    def timings(self) -> Timings | None:
        """Seconds per stage, where they were taken."""
        return self.recipe.timings

    @property
    def recovery(self) -> tuple[str, ...]:
        """Steps taken to recover on the way; empty where all went well."""
        return self.recipe.recovery

    def save(self, target: str | Path = ".", name: str = NAME) -> Path:
        """Writes the picture with its recipe; whole or not at all, and never over another file.

        Args:
            target: a folder, made where it is missing; or a file, known by its ending ``.png``,
                ``.jpg``, ``.jpeg`` or ``.webp``.
            name: template of the file name in a folder; ``{seed}``, ``{prompt}``, ``{model}``,
                ``{sampler}``, ``{steps}``, ``{width}`` and ``{height}`` are filled in. An ending
                of the above chooses the format, PNG without one.

        Returns:
            The path of the file: numbered ``_2``, ``_3``, ... where the name was taken.

        Raises:
            OutputError: a name that cannot be used, a folder that is none or cannot be written to,
                a full disk. Nothing is left behind.
        """
        target = Path(target)
        if target.suffix.lower() in FORMATS and not _is_folder(target):
            check_name(target.name)
            folder, stem, suffix = target.parent, target.stem, target.suffix
        else:
            folder = target
            stem, suffix = split_suffix(filled(name, self.request, **self._size()))
        return write_new(folder, stem, suffix, encode_picture(self.image, self.recipe, suffix))

    def _size(self) -> dict[str, str]:
        return {"width": str(self.image.width), "height": str(self.image.height)}


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long, say; writing will tell
        return False


def slug(text: str) -> str:
    """``text`` for use in a file name: its letters and digits of any script, joined by ``-``."""
    kept = "".join(
        char if unicodedata.category(char)[0] in "LMN" else " "
        for char in unicodedata.normalize("NFC", text.lower())
    )
    joined = "-".join(kept.split()).encode()[:_SLUG_BYTES].decode(errors="ignore")
    return joined.rstrip("-")


def filled(template: str, request: Request, **more: str) -> str:
    """A template of a file name, filled in.

    Args:
        template: text with names of fields in braces; ``{prompt:40}`` keeps 40 characters.
        request: a resolved request of one picture.
        more: other fields and their values.

    Raises:
        OutputError: the template is broken or names an unknown field.
    """
    values = {
        "seed": str(request.seed),
        "prompt": slug(request.prompt),
        "model": slug(request.model),
        "sampler": slug(str(request.sampler)),
        "steps": str(request.steps),
        "width": str(request.width),
        "height": str(request.height),
        **more,
    }
    valid = ", ".join(f"{{{field}}}" for field in values)
    parts = []
    try:
        for literal, field, spec, conversion in string.Formatter().parse(template):
            parts.append(literal)
            if field is None:
                continue
            # Only plain names: "{seed.__class__}" stays unknown.
            value = values["" if conversion else field]
            parts.append(value[: _length(spec)] if spec else value)
    except (KeyError, ValueError):
        raise OutputError(
            f"The name template {template!r} cannot be filled.",
            valid=f"text with {valid}; {{prompt:40}} for its first 40 characters",
        ) from None
    return "".join(parts).rstrip("_-")


def split_suffix(name: str) -> tuple[str, str]:
    """A safe stem and the ending of a picture file that is to have this name; PNG without one."""
    for suffix in FORMATS:
        if name.lower().endswith(suffix):
            return safe_stem(name[: -len(suffix)]), suffix
    return safe_stem(name), ".png"


def _length(spec: str | None) -> int:
    if not (spec and spec.isascii() and spec.isdecimal()):
        raise ValueError(spec)
    return int(spec[:4])
