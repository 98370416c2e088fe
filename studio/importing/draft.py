"""What a reader gathers: fields of a request, and notes of what did not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from studio.errors import RequestError
from studio.schedulers import catalogue

Texts = Mapping[str, str]
"""The texts in a picture file, by their PNG key."""


@dataclass
class Draft:
    """A recipe on its way into a request.

    Args:
        source: the tool that drew the picture.
        text: the recipe as found.
        fields: of a request, not checked yet.
        notes: what was lost or approximated.
    """

    source: str
    text: str
    fields: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def lose(self, note: str) -> None:
        """Notes what has no counterpart here."""
        if note not in self.notes:
            self.notes.append(note)

    def put(self, name: str, value: Any, convert: Callable[[Any], object]) -> None:
        """Sets a field; what cannot be converted is noted and left open."""
        if value in (None, ""):
            return
        try:
            self.fields[name] = convert(value)
        except (TypeError, ValueError, OverflowError):
            self.lose(f"{name} = {str(value)[:60]!r} could not be read.")

    def take(
        self, found: Mapping[str, Any], table: Mapping[str, tuple[str, Callable[[Any], object]]]
    ) -> None:
        """Sets the fields of all keys of a table that were found."""
        for key, (name, convert) in table.items():
            self.put(name, found.get(key), convert)

    def size(self, width: Any, height: Any) -> None:
        """Sets the size, to the next that can be drawn."""
        for name, value in {"width": width, "height": height}.items():
            self.put(name, value, whole)
            pixels = self.fields.get(name)
            if isinstance(pixels, int) and pixels % 8:
                self.fields[name] = max(64, round(pixels / 8) * 8)
                self.lose(f"{name} {pixels} became {self.fields[name]}, a multiple of 8.")

    def sampler(self, sampler: Any, schedule: Any = None) -> None:
        """Sets sampler and spacing under our names, each only where it is known."""
        if not sampler:
            return
        name = str(sampler)
        spacing = _SPACINGS.get(str(schedule).lower(), str(schedule)) if schedule else None
        if spacing is None and name.endswith("_k"):  # InvokeAI's way to say Karras
            name, spacing = name.removesuffix("_k"), "Karras"
        try:
            chosen = catalogue.resolve(name, spacing)
        except RequestError:
            try:
                chosen = catalogue.resolve(name)
            except RequestError as error:
                self.lose(f"The sampler {name} is unknown here ({error.valid}).")
                return
            self.lose(f"The spacing {schedule} is not to be had with {chosen[0]}.")
        self.fields |= {"sampler": chosen[0], "schedule": chosen[1]}

    def rest(self, found: Mapping[str, Any], known: Mapping[str, Any], silent: set[str]) -> None:
        """Notes every key that was neither used nor is known to change nothing."""
        for key, value in found.items():
            if key not in known and key not in silent and value not in (None, "", [], {}, False):
                shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                self.lose(f"{key} = {shown[:60]} has no counterpart.")


_SPACINGS = {"native": "Automatic", "normal": "Uniform"}
"""Names of spacings that the catalogue does not know."""


def whole(value: Any) -> int:
    """A whole number, also from text or from 20.0.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str):
        return int(value.strip())
    if isinstance(value, bool) or value != int(value):
        raise ValueError(value)
    return int(value)


def number(value: Any) -> float:
    """A number, also from text.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool):
        raise ValueError(value)
    return float(value)


def text(value: Any) -> str:
    """A text.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def as_object(source: str | None) -> dict[str, Any] | None:
    """The JSON object in a text, ``None`` where it holds none."""
    if not source or not source.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(source)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
