"""What every part of the training is told by the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainOptions:
    """Options of ``studio train PART``, the same for every part.

    Attributes:
        recipe: training recipe (YAML); ``None`` means the part's own in ``configs/training``.
        out: folder that receives checkpoints, sample sheets and the result.
        data: folder of the prepared data set, where the part reads one.
        resume: go on from the newest checkpoint in ``out``.
        init_from: folder of weights to begin with.
        overrides: ``key=value`` pairs that replace values of the recipe, in order.
    """

    recipe: Path | None
    out: Path
    data: Path | None = None
    resume: bool = False
    init_from: Path | None = None
    overrides: tuple[str, ...] = ()
