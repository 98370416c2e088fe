"""Which requests can be drawn together. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from studio.errors import RequestError
from studio.pipelines.adapter_files import Asked
from studio.pipelines.request import Request

_OWN = frozenset({"prompt", "negative_prompt", "seed", "variation_seed"})
_SHARED = tuple(name for name in Request.model_fields if name not in _OWN)


def shared_key(request: Request) -> tuple[object, ...]:
    """Equal for those single-picture requests that can be drawn together, and for no others."""
    return (Asked.by(request), *(getattr(request, name) for name in _SHARED))


@dataclass(frozen=True)
class Shared:
    """What the pictures of one batch have in common, every field filled.

    Args:
        sampler: canonical name.
        schedule: canonical name.
        steps: 1 or more.
        guidance_scale: 1 = no guidance.
        guidance_rescale: [0, 1].
        guidance_start: share of the steps.
        guidance_end: share of the steps.
        clip_skip: 1 = last layer.
        width: pixels.
        height: pixels.
        reuse: steps that share the U-Net's deep blocks, 1 = none.
    """

    sampler: str
    schedule: str
    steps: int
    guidance_scale: float
    guidance_rescale: float
    guidance_start: float
    guidance_end: float
    clip_skip: int
    width: int
    height: int
    reuse: int = 1

    @classmethod
    def of(cls, requests: Sequence[Request]) -> Shared:
        """What resolved single-picture requests share; only prompts and seeds may differ.

        Raises:
            RequestError: a field is open, differs between requests, or asks for several pictures.
        """
        first = requests[0]
        asked = Asked.by(first)
        for request in requests:
            if Asked.by(request) != asked:
                raise RequestError(
                    "prompt", request.prompt, "asks for other files than the first of its batch",
                    valid="the same LoRAs and textual inversions",
                )  # fmt: skip
            for name in type(request).model_fields:
                value = getattr(request, name)
                if name == "count" and value != 1:
                    raise RequestError(name, value, "a batch has one request a picture", valid="1")
                if name not in _OWN and value != getattr(first, name):
                    raise RequestError(
                        name, value, "differs within a batch", valid=repr(getattr(first, name))
                    )
        values = {name: getattr(first, name) for name in cls.__annotations__}
        seeds = {"seed": None if any(r.seed is None for r in requests) else 0}
        for name, value in {**values, **seeds}.items():
            if value is None:
                raise RequestError(name, None, "still open", valid="a resolved request")
        return cls(**values)
