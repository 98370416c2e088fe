"""Models that the user has added by name: a small file in the user's own config folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from studio.errors import ModelError


@dataclass(frozen=True)
class Entry:
    """A model that was added.

    Args:
        name: what users type.
        path: folder or file, absolute.
        family: as recognised when it was added.
        sha256: fingerprint of its weights then.
        size: bytes of its weights then.
        licence: what the user noted, empty if nothing.
        prediction: what it predicts where the user knows better than its tensors, else empty.
    """

    name: str
    path: str
    family: str
    sha256: str
    size: int
    licence: str = ""
    prediction: str = ""


def location() -> Path:
    """The registry's file, whether or not it is there."""
    return platformdirs.user_config_path("latent-studio") / "models.json"


def entries() -> tuple[Entry, ...]:
    """What was added, by name.

    Raises:
        ModelError: the registry cannot be read.
    """
    path = location()
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        found = [Entry(**row) for row in rows]
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"The list of models {path} cannot be read.", valid="an undamaged file, or none"
        ) from error
    return tuple(sorted(found, key=lambda entry: entry.name))


def add(entry: Entry) -> None:
    """Adds a model, or renews the one of that name.

    Raises:
        ModelError: the registry cannot be read or written.
    """
    _write([*(known for known in entries() if known.name != entry.name), entry])


def remove(name: str) -> Entry:
    """Forgets a model; its files stay.

    Raises:
        ModelError: nothing of that name was added, or the registry cannot be written.
    """
    known = {entry.name: entry for entry in entries()}
    if name not in known:
        names = ", ".join(known) or "nothing: no model was added"
        raise ModelError(f"{name!r} is no model that was added.", valid=names)
    removed = known.pop(name)
    _write(list(known.values()))
    return removed


def _write(rows: list[Entry]) -> None:
    path = location()
    part = path.with_name(f".models.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ModelError(
            f"The list of models {path} cannot be written: {error.strerror}.",
            valid="a config folder that can be written to",
        ) from error
