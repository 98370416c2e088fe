"""Batches of conditioning that are put together once and are then the same object every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from studio.pipelines.conditioning import Conditioning

_KEPT = 16


@dataclass(frozen=True, eq=False)
class Joined:
    """``Conditioning.cat`` that remembers: what depends on the text alone can be kept as well."""

    kept: dict[tuple[int, ...], tuple[tuple[Conditioning, ...], Conditioning]] = field(
        default_factory=dict
    )

    def __call__(self, parts: Sequence[Conditioning]) -> Conditioning:
        """One batch of several; the very same one for the very same parts."""
        key = tuple(map(id, parts))
        if key not in self.kept:
            if len(self.kept) >= _KEPT:
                del self.kept[next(iter(self.kept))]
            # Holding the parts keeps their ids their own.
            self.kept[key] = tuple(parts), Conditioning.cat(parts)
        return self.kept[key][1]
