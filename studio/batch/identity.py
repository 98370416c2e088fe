"""Who a job is: the same request on the same weights is the same job, whatever file it stands in.

Everything here is a pure function of its arguments, so that a restart finds every job again.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache

from studio.pipelines.cards import card
from studio.pipelines.request import Request

_DRAWN_SEEDS = 2**32  # as for seeds drawn at random: what other tools can type in


def job_id(request: Request, weights_sha256: str) -> str:
    """SHA-256 (64 hex digits) over a fully resolved request of one picture and the weights' hash.

    Args:
        request: resolved, ``count`` 1, pictures named by their hashes.
        weights_sha256: 64 hex digits.
    """
    digest = hashlib.sha256(weights_sha256.encode())
    digest.update(b"\n")
    digest.update(request.to_json().encode())
    return digest.hexdigest()


def derived(seed: int, *parts: object) -> int:
    """A number from 0 to 2**256 - 1, the same for the same seed and parts on every machine.

    Args:
        seed: of the batch's choices.
        parts: what tells this draw from others: anything that JSON can hold.
    """
    text = json.dumps([seed, *parts], sort_keys=True)  # ASCII: lone surrogates are no trouble
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")


def open_seed(seed: int, *parts: object) -> int:
    """The seed, 0 to 2**32 - 1, of a row that leaves it open."""
    return derived(seed, "seed", *parts) % _DRAWN_SEEDS


@lru_cache(maxsize=64)
def weights_sha256(model: str) -> str:
    """The fingerprint of a model's weights, as its pictures' recipes have it. Loads no model.

    Raises:
        ModelError: there is no such model, or its weights are missing or broken.
    """
    return card(model).weights_sha256()
