"""Read a file of drawings that ``studio.training.drawings`` made."""

from __future__ import annotations

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from studio.errors import ModelError
from studio.training.dictionary import Dictionary
from studio.training.faces import FaceParts
from studio.training.silhouettes import MEMBERS, Silhouettes
from studio.training.vectors import WordVectors

_EXTRAS = ("faces.json", "nouns.json", "vectors.bin")
_REMEDY = "a file made by studio.training.drawings.prepare"


@dataclass(frozen=True)
class Drawing:
    """One drawing: what it shows, in which style, and whether it is kept from training.

    ``label`` and ``keywords`` are by language ("en", "zh"); ``hue`` is in degrees, or None.
    """

    id: str
    concept: str
    style: str
    style_words: tuple[str, ...]
    label: dict[str, str]
    keywords: dict[str, tuple[str, ...]]
    group: str
    subgroup: str
    everyday: bool
    hue: int | None
    heldout: bool


@dataclass(frozen=True)
class Drawings:
    """All drawings of a file: ``rows`` and, in their order, ``pixels`` uint8 [N, H, W, 4] RGBA;
    the parts of cartoon faces, a dictionary, word vectors, silhouettes where it has them."""

    rows: tuple[Drawing, ...]
    pixels: npt.NDArray[np.uint8]
    faces: FaceParts | None = None
    dictionary: Dictionary | None = None
    vectors: WordVectors | None = None
    silhouettes: Silhouettes | None = None

    @classmethod
    def load(cls, path: Path, *, threads: int = 2) -> Drawings:
        """Read the file ``path``.

        Raises:
            ModelError: it is missing, is no zip, or a row or a picture in it is broken.
        """
        if not path.is_file():
            raise ModelError(f"There is no file of drawings at {path}.", valid=_REMEDY)
        try:
            with zipfile.ZipFile(path) as archive:
                names = set(archive.namelist())
                lines = archive.read("drawings.jsonl").decode().splitlines()
                rows = tuple(_row(line, n, path) for n, line in enumerate(lines, 1))
                missing = [row.id for row in rows if _picture(row) not in names]
                if missing or not rows:
                    lack = f"the picture of {missing[0]!r}" if missing else "any drawing"
                    raise ModelError(f"The file of drawings {path} lacks {lack}.", valid=_REMEDY)
                encoded = [archive.read(_picture(row)) for row in rows]
                held = {name: archive.read(name) for name in (*_EXTRAS, *MEMBERS) if name in names}
                faces, nouns, vectors = map(held.get, _EXTRAS)
                index, shapes = map(held.get, MEMBERS)
                extras = (
                    FaceParts.from_json(faces) if faces else None,
                    Dictionary.from_json(nouns) if nouns else None,
                    WordVectors.from_bytes(vectors) if vectors else None,
                    Silhouettes.from_members(index, shapes) if index and shapes else None,
                )
        except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
            raise ModelError(
                f"{path} ({path.stat().st_size} bytes) is not a whole file of drawings: {error}.",
                valid=_REMEDY,
            ) from error
        with ThreadPoolExecutor(threads) as pool:
            pictures = list(pool.map(_decode, encoded))
        for row, picture in zip(rows, pictures, strict=True):
            if picture is None or picture.shape != pictures[0].shape:  # type: ignore[union-attr]
                raise ModelError(f"The picture of {row.id!r} in {path} is broken.", valid=_REMEDY)
        pixels = np.stack([picture for picture in pictures if picture is not None])
        return cls(rows, pixels, *extras)


def _picture(row: Drawing) -> str:
    return f"drawings/{row.id}.webp"


def _row(line: str, number: int, path: Path) -> Drawing:
    try:
        fields: dict[str, Any] = json.loads(line)
        words = {language: tuple(words) for language, words in fields.pop("keywords").items()}
        return Drawing(**{**fields, "style_words": tuple(fields["style_words"])}, keywords=words)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"Line {number} of drawings.jsonl in {path} is not a drawing: {error}.", valid=_REMEDY
        ) from error


def _decode(data: bytes) -> npt.NDArray[np.uint8] | None:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGBA"))
    except OSError:
        return None
