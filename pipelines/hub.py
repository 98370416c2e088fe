"""Models of the Hugging Face hub: a pinned revision, safetensors only, and only if asked."""

from __future__ import annotations

import re
from pathlib import Path

from studio.errors import ModelError

_PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}")
_LOOKS = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(@.*)?")
_WANTED = ["model_index.json", "*/*.json", "*/*.txt", "*/*.safetensors"]
_NEEDLESS = ["safety_checker/*", "feature_extractor/*", "*non_ema*"]
VALID = "organisation/name@revision, the revision as the 40 hex digits of its commit"


def looks_like_id(text: str) -> bool:
    """Whether ``text`` may be meant as a hub id, pinned or not."""
    return _LOOKS.fullmatch(text) is not None


def folder(reference: str, *, allow_download: bool = False) -> Path:
    """The local copy of a model on the hub, in diffusers' layout.

    Args:
        reference: ``organisation/name@<40 hex digits>``.
        allow_download: whether what is missing may be fetched; else the network is not asked.

    Raises:
        ModelError: not pinned, not here, or the download failed.
    """
    if not _PINNED.fullmatch(reference):
        raise ModelError(f"model = {reference!r} names no fixed revision.", valid=VALID)
    from huggingface_hub import snapshot_download

    name, _, revision = reference.partition("@")
    try:
        found = snapshot_download(
            name,
            revision=revision,
            allow_patterns=_WANTED,
            ignore_patterns=_NEEDLESS,
            local_files_only=not allow_download,
        )
    except Exception as error:  # many kinds, from many libraries below
        if not allow_download:
            raise ModelError(
                f"{reference} is not on this machine, and nothing is fetched unasked.",
                valid=f"studio models add {reference} --allow-download",
            ) from None
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{reference} cannot be fetched: {line}.", valid=VALID) from error
    return Path(found)
