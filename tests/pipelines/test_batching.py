from __future__ import annotations

from typing import Any

import pytest

from studio.errors import RequestError
from studio.pipelines.batching import Shared
from tests.tiny import tiny_requests


def test_prompts_and_seeds_may_differ() -> None:
    batch = (*tiny_requests(2), *tiny_requests(prompt="a dog", negative_prompt="blue", seed=9))
    shared = Shared.of(batch)
    assert (shared.sampler, shared.steps, shared.width) == ("Euler", 3, 64)


@pytest.mark.parametrize(
    "other",
    [{"steps": 4}, {"width": 128}, {"guidance_rescale": 0.5}, {"clip_skip": 2}],
    ids=lambda other: next(iter(other)),
)
def test_whatever_else_differs_is_refused_by_name(other: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=next(iter(other))):
        Shared.of((*tiny_requests(), *tiny_requests(**other)))


@pytest.mark.parametrize(
    ("field", "value"), [("seed", None), ("steps", None), ("height", None), ("count", 2)]
)
def test_requests_must_be_resolved_single_pictures(field: str, value: object) -> None:
    request = tiny_requests()[0].model_copy(update={field: value})
    with pytest.raises(RequestError, match=field):
        Shared.of([request])
