"""Settings to try: read from the command line, and candidates are ranked."""

from __future__ import annotations

import argparse

import pytest
from PIL import Image

from benchmarks.settings import best_of, setting
from studio import Studio
from studio.scoring import Scorer


def test_settings_are_read() -> None:
    assert setting("steps: 10, schedule: SGM Uniform") == {"steps": 10, "schedule": "SGM Uniform"}
    assert setting("") == {}


@pytest.mark.parametrize("text", ["steps", "steps: [", "10, 20"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="field: value"):
        setting(text)


def test_the_candidate_that_fits_best_is_taken() -> None:
    class Last(Scorer):
        def __init__(self) -> None:
            pass

        def ranked(self, *_: object) -> tuple[int, ...]:
            return (2, 0, 1)

    studio = Studio("mini")
    drawn = [one.image for one in studio.generate("a cat", seed=0, count=3, steps=1)]
    best = best_of(studio, Last(), "a cat", {"rank": 3, "steps": 1})
    assert isinstance(best, Image.Image)
    assert best.tobytes() == drawn[2].tobytes()
    assert best_of(studio, None, "a cat", {"steps": 1}).tobytes() == drawn[0].tobytes()
