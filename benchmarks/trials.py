"""Trials: prompts, scenes that show what they ask for, and a program that checks pictures."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from studio.training.scenes import Scene


@dataclass(frozen=True)
class Case:
    """What is asked, and a real scene that shows it."""

    prompt: str
    scene: Scene
    answer: int


@dataclass(frozen=True)
class Trial:
    """Cases, and a check: which answer each picture gives; right where it is the case's own."""

    name: str
    cases: tuple[Case, ...]
    check: Callable[[Sequence[Image.Image], Sequence[Case]], Sequence[int]]
    options: int

    def asked(self, way: str, prompts: Sequence[str]) -> Trial:
        """The same cases asked for in other prompts, one a case."""
        cases = (replace(c, prompt=p) for c, p in zip(self.cases, prompts, strict=True))
        return replace(self, name=f"{self.name}, {way}", cases=tuple(cases))

    def rate(self, pictures: Sequence[Image.Image]) -> float:
        """Share of right answers of the pictures, one a case."""
        right = [case.answer for case in self.cases]
        return float(np.mean(np.asarray(self.check(pictures, self.cases)) == right))


def one_by_one(
    check: Callable[[Image.Image, Case], int],
) -> Callable[[Sequence[Image.Image], Sequence[Case]], Sequence[int]]:
    """A check that looks at every picture alone."""
    return lambda pictures, cases: [check(p, c) for p, c in zip(pictures, cases, strict=True)]


def some(cases: Sequence[Case], each: int, rng: random.Random) -> tuple[Case, ...]:
    """``each`` of the cases at random, or all where there are fewer."""
    return tuple(rng.sample(list(cases), min(each, len(cases))))
