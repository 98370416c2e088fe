from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from studio.pipelines.tiling import over_tiles, spans


def blurred(x: Tensor) -> Tensor:
    """A local operation that sees 2 pixels far and zeros beyond an edge, twice as large."""
    return interpolate(avg_pool2d(x, 5, 1, 2), scale_factor=2.0)


@pytest.mark.parametrize(("length", "edge", "overlap", "unit"), [(100, 32, 8, 1), (96, 40, 16, 8)])
def test_spans_cover_evenly_and_overlap_enough(
    length: int, edge: int, overlap: int, unit: int
) -> None:
    found = spans(length, edge, overlap, unit)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(last - first == edge and first % unit == 0 for first, last in found)
    shared = [before[1] - after[0] for before, after in pairwise(found)]
    assert overlap <= min(shared)
    assert max(shared) - min(shared) <= 2 * unit


def test_what_fits_is_one_tile() -> None:
    assert spans(32, 32, 8) == [(0, 32)]


@pytest.mark.parametrize("size", [(40, 61), (16, 90), (12, 10)])
def test_tiles_of_a_local_operation_are_the_whole(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    tiled = over_tiles(blurred, x, edge=24, overlap=8, scale=2)
    torch.testing.assert_close(tiled, blurred(x))


def test_tiles_may_come_out_smaller() -> None:
    x = torch.randn(1, 3, 80, 120)

    def small(tile: Tensor) -> Tensor:
        return avg_pool2d(tile, 8)

    tiled = over_tiles(small, x, edge=32, overlap=8, scale=Fraction(1, 8))
    torch.testing.assert_close(tiled, small(x))


def test_tiles_wrap_around() -> None:
    x = torch.randn(1, 1, 40, 56)
    around = blurred(pad(x, (8, 8, 8, 8), mode="circular"))[..., 16:-16, 16:-16]
    tiled = over_tiles(blurred, x, edge=24, overlap=8, scale=2, wrap=True)
    torch.testing.assert_close(tiled, around)
    rolled = over_tiles(blurred, x.roll((5, 9), (2, 3)), edge=24, overlap=8, scale=2, wrap=True)
    torch.testing.assert_close(rolled, tiled.roll((10, 18), (2, 3)))
