"""The judge of faces: learns hair colours from the generator, and sees backgrounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.faces import ATTRIBUTES, Faces, seen, trained
from studio.training.data_recipe import Package
from studio.training.dataset import Drawings
from studio.training.faces import FaceParts
from studio.training.scenes import SceneMaker, SceneMix
from studio.training.sources import Source
from tests.training.drawn import write_drawings
from tests.training.face_parts import face_files


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> SceneMaker:
    drawings = Drawings.load(write_drawings(Path(tmp_path_factory.mktemp("faces")) / "d.zip"))
    package = Package(name="faces", version="1.0.0", licence="MIT", credit="us", sha256=None)
    parts = FaceParts.read(Source(package, "", face_files()))
    mix = SceneMix(plain=0, background=0, hue=0, size=0, count=0, pair=0, face=1)
    return SceneMaker(replace(drawings, faces=parts), mix)


def test_attributes_are_seen(maker: SceneMaker) -> None:
    model = trained(Faces.draw(maker, 200, seed=1), steps=80)
    fresh = Faces.draw(maker, 60, seed=2)
    right = (seen(model, fresh.pictures) == fresh.answers).mean(axis=0)
    colour, background = (list(ATTRIBUTES).index(name) for name in ("hair colour", "background"))
    assert right[colour] > 0.8
    assert right[background] > 0.9
    # All hair has one shape here: what cannot be seen is not guessed.
    assert right[0] < 0.4
