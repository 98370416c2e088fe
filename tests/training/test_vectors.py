"""Word vectors: those of the words asked for, without what all share, in one byte a number."""

from __future__ import annotations

import json

import numpy as np
import pytest

from studio.errors import StudioError
from studio.training.data_recipe import Package
from studio.training.sources import Source
from studio.training.vectors import DIMENSIONS, WordVectors

PACKAGE = Package(name="near", version="1.0.0", licence="MIT", credit="us", sha256=None)


def _source(content: object) -> Source:
    return Source(PACKAGE, "0" * 64, {"near.json": json.dumps(content).encode()})


@pytest.fixture(scope="module")
def vectors() -> WordVectors:
    """Three words at right angles and ``dogs`` beside ``dog``, all moved by the same."""
    rows = np.full((4, DIMENSIONS + 2), 5.0)
    rows[0, 0] += 1
    rows[1, 1] += 1
    rows[2, 1] += 1
    rows[3, 2] += 1
    words = ["cat", "dog", "dogs", "sea"]
    stated = {"words": words, "vectors": dict(zip(words, rows.tolist(), strict=True))}
    return WordVectors.read(_source(stated), ["Dog, dogs", "sea dog", "cat", "unicorn"])


def test_words_beside_each_other_are_near(vectors: WordVectors) -> None:
    cat, dog, dogs, both, none = vectors.of(["cat", "dog", "Dogs", "sea-dog", "unicorn"])
    assert dog @ dogs == pytest.approx(1)
    assert dog @ cat < 0 < dog @ both < 1
    assert not none.any()
    np.testing.assert_allclose(np.linalg.norm([cat, dog, both], axis=1), 1, atol=1e-6)


def test_they_survive_being_written(vectors: WordVectors) -> None:
    again = WordVectors.from_bytes(vectors.to_bytes())
    assert again.place == vectors.place
    np.testing.assert_array_equal(again.steps, vectors.steps)
    with pytest.raises(ValueError, match="reshape"):
        WordVectors.from_bytes(vectors.to_bytes()[:-1])


@pytest.mark.parametrize(
    "content", [[], {"words": ["cat"]}, {"words": ["cat"], "vectors": {"cat": [1.0, 2.0]}}]
)
def test_what_holds_no_vectors_is_refused(content: object) -> None:
    with pytest.raises(StudioError, match=r"near@1\.0\.0 are broken"):
        WordVectors.read(_source(content), ["cat"])
