"""The worth of choosing, against every choice written out."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from benchmarks.ranking import best_of


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_it_is_the_mean_over_all_ways_to_pick(count: int) -> None:
    rng = np.random.default_rng(count)
    scores, right = rng.normal(size=(7, 5)), rng.random((7, 5)) < 0.5
    picked = [list(some) for some in combinations(range(7), count)]
    one_by_one = [
        [right[some, prompt][scores[some, prompt].argmax()] for prompt in range(5)]
        for some in picked
    ]
    assert best_of(scores, right, count).tolist() == pytest.approx(np.mean(one_by_one, 0).tolist())


def test_a_perfect_order_finds_what_is_there() -> None:
    right = np.array([[False, False], [True, False], [False, False]])
    assert best_of(right.astype(float), right, 3).tolist() == [1, 0]
    assert best_of(right.astype(float), right, 1).tolist() == pytest.approx([1 / 3, 0])
