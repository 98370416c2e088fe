from __future__ import annotations

import pytest
import torch
from torch import Tensor

from studio.pipelines.conditioning import Conditioning
from studio.pipelines.guidance import Guided, UNetDenoiser, rescaled
from tests.tiny import tiny_model

X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
T = torch.tensor(500)
POSITIVE, NEGATIVE = (Conditioning(torch.full((2, 3, 5), value)) for value in (2.0, -1.0))


class Recorder:
    """Predicts x times the mean of the conditioning; remembers the sizes of its calls."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, x: Tensor, t: Tensor, text: Conditioning) -> Tensor:
        assert t is T
        self.sizes.append(len(x))
        return x * text.embeds.mean((1, 2))[:, None, None, None]


def test_guidance_moves_away_from_the_negative_in_one_call() -> None:
    inner = Recorder()
    guided = Guided(inner, 3.0)(X, T, POSITIVE, NEGATIVE, 0.0)
    torch.testing.assert_close(guided, X * (-1.0 + 3.0 * (2.0 - -1.0)))
    assert inner.sizes == [4]


def test_scale_one_is_the_positive_prediction_in_one_pass() -> None:
    inner = Recorder()
    torch.testing.assert_close(Guided(inner, 1.0)(X, T, POSITIVE, NEGATIVE, 0.0), 2 * X)
    assert inner.sizes == [2]


@pytest.mark.parametrize(
    ("start", "end", "guided_steps"),
    [(0.0, 1.0, [0, 1, 2, 3]), (0.25, 0.75, [1, 2]), (0.0, 0.5, [0, 1]), (0.5, 0.5, [])],
)
def test_no_negative_evaluation_outside_the_interval(
    start: float, end: float, guided_steps: list[int]
) -> None:
    inner = Recorder()
    guided = Guided(inner, 5.0, start=start, end=end)
    for step in range(4):
        guided(X, T, POSITIVE, NEGATIVE, step / 4)
    assert [i for i, size in enumerate(inner.sizes) if size == 4] == guided_steps


def test_rescale_restores_the_deviation_of_the_positive_prediction() -> None:
    whole = rescaled(9 * X, X, 1.0)
    torch.testing.assert_close(whole, X)
    torch.testing.assert_close(rescaled(9 * X, X, 0.5), 5 * X)


def test_rescale_treats_each_image_alone() -> None:
    stretched = torch.cat([4 * X[:1], 7 * X[1:]])
    torch.testing.assert_close(rescaled(stretched, X, 1.0), X)


def test_a_unet_answers_in_fp32_whatever_it_computes_in() -> None:
    unet = tiny_model().unet
    x, embeds = torch.zeros(1, 4, 8, 8, dtype=torch.float64), torch.zeros(1, 16, 32).double()
    assert UNetDenoiser(unet)(x, T, Conditioning(embeds)).dtype == torch.float32
