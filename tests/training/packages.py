"""Tiny packages in the registry's layout, so that preparing needs no network."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from studio.training.data_recipe import DataRecipe, Package

CAT, ROCKET, GRIN, MAP = "1F408", "1F680", "1F600", "1F5FA-FE0F"


def _archive(folder: Path, name: str, licence: str, files: dict[str, Any]) -> None:
    manifest = {"name": name, "version": "1.0.0", "license": licence}
    members = {"package.json": manifest, **files}
    with tarfile.open(folder / f"{name}-1.0.0.tgz", "w:gz") as tar:
        for path, content in members.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            info = tarfile.TarInfo(f"package/{path}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _entry(label: str, code: str, group: int | None, tags: list[str]) -> dict[str, Any]:
    character = "".join(chr(int(part, 16)) for part in code.split("-"))
    entry = {"label": label, "hexcode": code, "emoji": character, "tags": tags}
    return entry if group is None else {**entry, "group": group, "subgroup": group}


def _shape(colour: str, x: int = 2) -> dict[str, str]:
    return {"body": f'<rect x="{x}" y="4" width="4" height="2" fill="{colour}"/>'}


def write_dictionary(folder: Path) -> Package:
    """Write a dictionary of one word into ``folder``; return its package."""
    data = "1 05 n 02 puss 0 cat 0 000 | it meows\n"
    files = {"dict/data.noun": data.encode(), "dict/index.noun": b"puss n 1 0 1 0 1\n"}
    _archive(folder, "nouns", "MIT", files)
    return Package(name="nouns", version="1.0.0", licence="MIT", credit="us", sha256=None)


def write_vectors(folder: Path) -> Package:
    """Write word vectors for a few words into ``folder``; return their package."""
    words = ["puss", "cat", "rocket"]
    rows = np.eye(len(words), 102).tolist()
    _archive(
        folder, "near", "MIT",
        {"near.json": {"words": words, "vectors": dict(zip(words, rows, strict=True))}},
    )  # fmt: skip
    return Package(name="near", version="1.0.0", licence="MIT", credit="us", sha256=None)


def write_icons(folder: Path) -> Package:
    """Write a set of icons of one colour into ``folder``; return its package."""
    places = {"cat": 0, "cat-outline": 1, "cat-solid-2": 2, "cat-variant": 3, "chair": 4}
    icons = {
        "icons": {name: _shape("currentColor", x) for name, x in places.items()},
        "aliases": {"rocket-fill": {"parent": "chair"}},
        "width": 8,
        "height": 8,
    }
    info = {"license": {"spdx": "MIT"}}
    _archive(folder, "icons", "MIT", {"icons.json": icons, "info.json": info})
    return Package(name="icons", version="1.0.0", licence="MIT", credit="us", sha256=None)


def write_packages(folder: Path, *, licence: str = "MIT") -> DataRecipe:
    """Write captions and two packages of drawings into ``folder``; return their recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = {
        "meta/groups.json": {
            "groups": {"0": "faces", "1": "animals", "2": "travel", "9": "flags"},
            "subgroups": {"0": "face", "1": "mammal", "2": "air", "9": "flag"},
        },
        "en/data.json": [
            _entry("cat", CAT, 1, ["pet", "lol"]),
            _entry("rocket", ROCKET, 2, ["space"]),
            _entry("grinning face", GRIN, 0, ["smile"]),
            _entry("world map", MAP, 2, []),
            _entry("flag: Nowhere", "1F6A9", 9, []),
            _entry("regional indicator A", "1F1E6", None, []),
        ],
        "zh/data.json": [_entry("猫", CAT, 1, ["宠物"]), _entry("火箭", ROCKET, 2, ["太空"])],
    }
    _archive(folder, "labels", "MIT", captions)
    words = {"dist/emoji-en-US.json": {chr(0x1F408): ["cat", "143", ":D", "house_pet", "pet"]}}
    _archive(folder, "words", "MIT", words)
    icons = {
        "icons": {
            "cat": _shape("#f00"),
            "spaceship": _shape("#00f"),
            "grinning-face": {"body": '<circle cx="4" cy="4" r="3" fill="#777"/>'},
            "map": _shape("none"),
            "nowhere": _shape("#0f0"),
        },
        "aliases": {"feline": {"parent": "cat", "hFlip": True}},
        "width": 8,
        "height": 8,
    }
    info = {"license": {"spdx": licence}}
    chars = {"1f408": "cat", "1f680": "spaceship", "1f600": "grinning-face", "1f5fa": "map"}
    _archive(
        folder, "shapes", licence, {"icons.json": icons, "chars.json": chars, "info.json": info}
    )
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[10:20, 5:35] = (0, 128, 0, 255)
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, "WEBP", lossless=True)
    _archive(folder, "photos", "MIT", {"assets/1f408.webp": picture.getvalue()})
    style = {"family": "one", "words": ["plain"]}
    return DataRecipe.model_validate(
        {
            "name": "tiny",
            "size": 32,
            "labels": "labels",
            "keywords": "words",
            "packages": [
                {"name": name, "version": "1.0.0", "licence": "MIT", "credit": f"{name} by us"}
                for name in ("labels", "words", "shapes", "photos")
            ],
            "styles": [
                {"id": "flat", "package": "shapes", "naming": "code", **style},
                {"id": "photo", "package": "photos", "naming": "file", **style},
            ],
            "without_groups": ["flags"],
            "everyday_groups": ["animals", "travel"],
            "slang": ["lol"],
        }
    )
