"""Peaks of the memory modes."""

from __future__ import annotations

import sys

import pytest
import torch

from benchmarks.memory import Peak, measure
from tests.tiny import tiny_components

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_the_peak_is_what_was_held_at_most_in_between() -> None:
    with Peak() as nothing:
        torch.ones(1)
    with Peak() as peak:
        for _ in range(20):
            torch.ones(2**25).sum()  # 128 MiB, long enough to be seen
    assert peak.bytes - nothing.bytes > 2**26


def test_a_mode_is_measured_beside_what_was_planned() -> None:
    found = measure(str(tiny_components()), "low", "cpu", 1, 64)
    assert found["memory"] == "low"
    assert found["edge"] == 64
    assert isinstance(found["peak_draw_gb"], float)
    assert isinstance(found["planned_gb"], float)
