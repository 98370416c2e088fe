"""Read the drawings of a package: SVG collections in the Iconify layout, or picture files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from studio.errors import StudioError
from studio.training.captions import plain_code
from studio.training.sources import Source

_OPEN = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
_PICTURES = {".webp", ".png"}


@dataclass(frozen=True)
class Icon:
    """A drawing of a package: its name, its plain code ("" = unknown), SVG text or file bytes."""

    name: str
    code: str
    source: str | bytes


def read_icons(source: Source, naming: str) -> Iterator[Icon]:
    """The package's drawings, aliases resolved, in order of name.

    Args:
        naming: ``"file"`` (picture files named by code point), ``"code"`` (Iconify, codes in
            chars.json) or ``"name"`` (Iconify, names only).

    Raises:
        StudioError: an alias points at nothing, or the package has another layout.
    """
    if naming == "file":
        for path in sorted(source.files):
            where = PurePosixPath(path)
            if where.suffix in _PICTURES:
                yield Icon(where.stem, plain_code(where.stem), source.files[path])
        return
    data = source.json("icons.json")
    codes: dict[str, str] = {}
    if naming == "code":
        codes = {name: plain_code(code) for code, name in source.json("chars.json").items()}
    for name in sorted({*data["icons"], *data.get("aliases", {})}):
        yield Icon(name, codes.get(name, ""), _svg(source, data, name))


def _svg(source: Source, data: dict[str, Any], name: str) -> str:
    frame = {key: data[key] for key in ("left", "top", "width", "height") if key in data}
    hflip = vflip = False
    seen = []
    while name not in data["icons"]:
        alias = data.get("aliases", {}).get(name)
        if alias is None or name in seen:
            raise StudioError(f"{source.package.spec}: the alias {name!r} points at no drawing.")
        seen.append(name)
        hflip, vflip = hflip ^ alias.get("hFlip", False), vflip ^ alias.get("vFlip", False)
        name = alias["parent"]
    icon = frame | data["icons"][name]
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = icon.get("width", 16), icon.get("height", 16)
    body = icon["body"]
    if hflip or vflip:
        x, y = (2 * left + width if hflip else 0), (2 * top + height if vflip else 0)
        turn = f"translate({x} {y}) scale({-1 if hflip else 1} {-1 if vflip else 1})"
        body = f'<g transform="{turn}">{body}</g>'
    return f'{_OPEN} viewBox="{left} {top} {width} {height}"{{size}}>{body}</svg>'
