"""The nearest training drawing is found whatever the common part of all features is."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.neighbours import nearest


def test_a_copy_is_found_with_cosine_one() -> None:
    rng = np.random.default_rng(0)
    known = (rng.normal(size=(50, 8)) + 100).astype(np.float32)
    places, cosines = nearest(known[[7, 3]], known)
    assert places == [7, 3]
    assert cosines == pytest.approx([1, 1], abs=1e-3)


def test_what_is_common_to_all_counts_for_nothing() -> None:
    known = np.array([[100, 1], [100, -1]], np.float32)
    places, cosines = nearest(np.array([[100, -0.1], [103, 4]], np.float32), known)
    assert places == [1, 0]
    assert cosines == pytest.approx([1, 0.8], abs=1e-5)
