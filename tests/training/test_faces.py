"""Cartoon faces: put together from a package's text, captioned by what they show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from studio.errors import StudioError
from studio.training.data_recipe import Package
from studio.training.dataset import Drawings
from studio.training.faces import HAIR, HAIR_COLOURS, Face, FaceParts
from studio.training.scenes import SceneMaker, SceneMix, heldout_pair
from studio.training.sources import Source
from studio.training.wording import caption, face_caption
from tests.training.drawn import write_drawings
from tests.training.face_parts import face_files

PACKAGE = Package(name="faces", version="1.0.0", licence="MIT", credit="us", sha256=None)
ONLY_FACES = SceneMix(plain=0, background=0, hue=0, size=0, count=0, pair=0, face=1)
FACE = Face("braids", "purple", "glasses", "#efcc9f", "normal", "smile")


@pytest.fixture(scope="module")
def parts() -> FaceParts:
    return FaceParts.read(Source(PACKAGE, "", face_files()))


@pytest.fixture(scope="module")
def maker(parts: FaceParts, tmp_path_factory: pytest.TempPathFactory) -> SceneMaker:
    drawings = Drawings.load(write_drawings(tmp_path_factory.mktemp("data") / "d.zip"))
    return SceneMaker(replace(drawings, faces=parts), ONLY_FACES)


def test_parts_lie_back_to_front_in_their_colours(parts: FaceParts) -> None:
    pixels = np.asarray(parts.picture(FACE, 54))
    assert pixels.shape == (54, 54, 4)
    assert pixels[0, 0, 3] == 0
    assert tuple(pixels[10, 27, :3]) == (0x8E, 0x44, 0xC8)  # hair over the face
    assert tuple(pixels[40, 27, :3]) == (0xEF, 0xCC, 0x9F)  # skin
    assert tuple(pixels[25, 27, :3]) == (0x11, 0x22, 0x33)  # glasses
    bare = np.asarray(parts.picture(replace(FACE, accessory=None), 54))
    assert tuple(bare[25, 27, :3]) == (0xEF, 0xCC, 0x9F)


def test_they_come_back_from_json(parts: FaceParts) -> None:
    assert FaceParts.from_json(parts.to_json()) == parts


def test_a_lacking_part_is_named() -> None:
    files = face_files()
    files["lib/components/hair.js"] = files["lib/components/hair.js"].replace(b"mohawk", b"other")
    with pytest.raises(StudioError, match=r"faces@1\.0\.0 lacks mohawk"):
        FaceParts.read(Source(PACKAGE, "", files))


def test_captions() -> None:
    assert (
        face_caption(FACE, "green")
        == "cartoon face, purple braided hair, glasses, green background"
    )
    bare = replace(FACE, accessory=None)
    assert face_caption(bare, "white") == "cartoon face, purple braided hair"
    assert face_caption(FACE, "green", chinese=True) == "卡通脸，紫色辫子，眼镜，绿色背景"


def test_scenes_of_faces(maker: SceneMaker) -> None:
    scenes = [maker.draw(np.random.default_rng(n)) for n in range(200)]
    faces = [scene.face for scene in scenes if scene.face]
    assert len(faces) == len(scenes)
    assert {face.hair for face in faces} == set(HAIR)
    assert {face.hair_colour for face in faces} == set(HAIR_COLOURS)
    assert not any(heldout_pair(face.hair_colour, HAIR[face.hair][0]) for face in faces)
    assert any(heldout_pair(colour, words) for colour in HAIR_COLOURS for words, _ in HAIR.values())
    rng = np.random.default_rng(0)
    assert caption(scenes[0], maker.drawings.rows, rng, chinese=0).startswith("cartoon face")
    assert maker.picture(scenes[0], rng).shape == (32, 32, 3)


def test_no_faces_without_parts(tmp_path: Path) -> None:
    drawings = Drawings.load(write_drawings(tmp_path / "d.zip"))
    maker = SceneMaker(drawings, SceneMix(face=5))
    assert not any(maker.draw(np.random.default_rng(n)).face for n in range(50))
