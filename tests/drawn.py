"""Pictures as they are drawn, before they become files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from studio.pipelines import stages


def before_rounding(results: Iterable[Any], patch: pytest.MonkeyPatch) -> Tensor:
    """What ``results`` draw when they are walked, [N, 3, H, W] in [0, 1], before it is 8 bits."""
    pictures: list[Tensor] = []
    to_pil = stages.to_pil

    def spy(picture: Tensor) -> Any:
        pictures.append(picture)
        return to_pil(picture)

    with patch.context() as patched:
        patched.setattr(stages, "to_pil", spy)
        for _ in results:
            pass
    return (torch.stack(pictures) / 2 + 0.5).clamp(0, 1)
