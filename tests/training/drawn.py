"""A small file of drawings made by the tests: discs and squares in a few colours."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

from PIL import Image, ImageDraw

_THINGS = {
    "ball": ("球", "ellipse", (200, 40, 40), 0),
    "box": ("盒子", "rectangle", (40, 60, 200), 230),
    "plate": ("盘子", "ellipse", (60, 180, 70), 125),
    "brick": ("砖", "rectangle", (180, 90, 50), 20),
}
_STYLES = {"flat": "flat style", "soft": "detailed"}


def write_drawings(path: Path, side: int = 32) -> Path:
    """A file that :class:`studio.training.dataset.Drawings` reads: four things in two styles."""
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for thing, (zh, shape, colour, hue) in _THINGS.items():
            for style, words in _STYLES.items():
                inset = side // (8 if style == "flat" else 5)
                picture = Image.new("RGBA", (side, side), (0, 0, 0, 0))
                box = (inset, inset, side - inset, side - inset)
                getattr(ImageDraw.Draw(picture), shape)(box, fill=(*colour, 255))
                data = io.BytesIO()
                picture.save(data, "WEBP", lossless=True, exact=True)
                name = f"{thing}-{style}"
                archive.writestr(f"drawings/{name}.webp", data.getvalue())
                rows.append(
                    {
                        "id": name, "concept": thing, "style": style, "style_words": [words],
                        "label": {"en": thing, "zh": zh},
                        "keywords": {"en": ["shape", "toy"], "zh": ["形状"]},
                        "group": "objects", "subgroup": "toys", "everyday": True, "hue": hue,
                        "heldout": name == "brick-soft",
                    }
                )  # fmt: skip
        lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        archive.writestr("drawings.jsonl", lines + "\n")
    return path
