"""Decibels of known errors."""

from __future__ import annotations

import pytest
import torch

from studio.training.vae import psnr


def test_decibels_of_known_errors() -> None:
    """From black to white is 0 dB; a tenth of that everywhere 20 dB, a hundredth 40 dB."""
    real = torch.full((3, 3, 4, 4), -1.0)
    drawn = real + torch.tensor([2.0, 0.2, 0.02]).view(3, 1, 1, 1)
    assert psnr(real, drawn).tolist() == pytest.approx([0, 20, 40], abs=1e-3)


def test_what_lies_beyond_white_is_white() -> None:
    real = torch.ones(1, 3, 2, 2)
    assert psnr(real, real + 5).item() == float("inf")
