"""A file of drawings loads whole or is refused with a clear word."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studio.errors import ModelError
from studio.training.dataset import Drawings

ROW = {
    "id": "flat-1f408",
    "concept": "1F408",
    "style": "flat",
    "style_words": ["plain"],
    "label": {"en": "cat", "zh": "猫"},
    "keywords": {"en": ["pet"], "zh": []},
    "group": "animals",
    "subgroup": "mammal",
    "everyday": True,
    "hue": None,
    "heldout": False,
}


def _webp(side: int = 8) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((side, side, 4), 200, np.uint8)).save(out, "WEBP", lossless=True)
    return out.getvalue()


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_rows_and_pixels_come_in_the_same_order(tmp_path: Path) -> None:
    second = {**ROW, "id": "flat-1f680", "hue": 120}
    lines = "\n".join(json.dumps(row) for row in (ROW, second)).encode()
    members = {"drawings.jsonl": lines}
    members |= {f"drawings/{row['id']}.webp": _webp() for row in (second, ROW)}
    drawings = Drawings.load(_zip(tmp_path / "d.zip", members))
    assert [row.id for row in drawings.rows] == ["flat-1f408", "flat-1f680"]
    assert drawings.rows[0].keywords == {"en": ("pet",), "zh": ()}
    assert drawings.rows[1].hue == 120
    assert drawings.pixels.shape == (2, 8, 8, 4)
    assert drawings.pixels.dtype == np.uint8
    assert (drawings.pixels == 200).all()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"other.txt": b""}, "not a whole file"),
        ({"drawings.jsonl": b""}, "lacks any drawing"),
        ({"drawings.jsonl": b"{}"}, "Line 1 of"),
        ({"drawings.jsonl": b"not json"}, "Line 1 of"),
        ({"drawings.jsonl": json.dumps({**ROW, "size": 3}).encode()}, "Line 1 of"),
        ({"drawings.jsonl": json.dumps(ROW).encode()}, "lacks the picture of 'flat-1f408'"),
        (
            {"drawings.jsonl": json.dumps(ROW).encode(), "drawings/flat-1f408.webp": b"RIFF"},
            "picture of 'flat-1f408'",
        ),
        (
            {
                "drawings.jsonl": json.dumps(ROW).encode(),
                "drawings/flat-1f408.webp": b"RIFF",
                "vectors.bin": b"cat dog\n\x01",
            },
            "not a whole file",
        ),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Drawings.load(_zip(tmp_path / "d.zip", members))


def test_pictures_of_different_sizes_are_refused(tmp_path: Path) -> None:
    second = {**ROW, "id": "b"}
    members = {"drawings.jsonl": f"{json.dumps(ROW)}\n{json.dumps(second)}".encode()}
    members |= {"drawings/flat-1f408.webp": _webp(8), "drawings/b.webp": _webp(9)}
    with pytest.raises(ModelError, match="picture of 'b'"):
        Drawings.load(_zip(tmp_path / "d.zip", members))


def test_a_missing_or_cut_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file of drawings"):
        Drawings.load(tmp_path / "none.zip")
    cut = tmp_path / "cut.zip"
    cut.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ModelError, match="16 bytes"):
        Drawings.load(cut)


def test_reading_needs_no_torch() -> None:
    code = "import sys, studio.training.dataset; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
