"""How long the stages of one picture took."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timings:
    """Wall-clock seconds per stage, one picture's share where several were drawn in one batch.

    Args:
        encode_s: prompts to conditioning.
        denoise_s: the sampler loop.
        decode_s: latents to pixels.
    """

    encode_s: float
    denoise_s: float
    decode_s: float

    @property
    def total_s(self) -> float:
        """Seconds of all stages together."""
        return self.encode_s + self.denoise_s + self.decode_s

    def __add__(self, other: Timings) -> Timings:
        return Timings(
            self.encode_s + other.encode_s,
            self.denoise_s + other.denoise_s,
            self.decode_s + other.decode_s,
        )
