from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.pipelines.noise import generators, standard_normal, varied

SHAPE = (4, 8, 6)


def test_each_image_draws_from_its_own_seed_alone() -> None:
    together = standard_normal(generators([7, 8, 9]), SHAPE)
    assert torch.equal(together[1:2], standard_normal(generators([8]), SHAPE))
    assert torch.equal(together[0], torch.randn(SHAPE, generator=torch.Generator().manual_seed(7)))


def test_every_seed_of_a_request_is_taken() -> None:
    last = standard_normal(generators([2**64 - 1]), SHAPE)
    assert not torch.equal(last, standard_normal(generators([0]), SHAPE))


def test_a_variation_runs_from_one_noise_to_the_other() -> None:
    a, b = (standard_normal(generators([seed]), SHAPE) for seed in (1, 2))
    assert varied(a, b, 0.0) is a
    torch.testing.assert_close(varied(a, b, 1.0), b)
    torch.testing.assert_close(varied(a, a, 0.3), a)


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 1))
def test_a_variation_keeps_the_variance(strength: float) -> None:
    a, b = (standard_normal(generators([seed]), (4, 64, 64)) for seed in (1, 2))
    assert varied(a, b, strength).std().item() == pytest.approx(1.0, abs=0.03)


def test_a_variation_is_the_slerp_of_each_column() -> None:
    a, b = (standard_normal(generators([seed]), SHAPE) for seed in (3, 4))
    u, v = a[0, 2, :, 5], b[0, 2, :, 5]
    angle = torch.acos(u @ v / (u.norm() * v.norm()))
    expected = (torch.sin(0.75 * angle) * u + torch.sin(0.25 * angle) * v) / torch.sin(angle)
    torch.testing.assert_close(varied(a, b, 0.25)[0, 2, :, 5], expected)
