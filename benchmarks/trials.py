"""Trials: prompts, scenes that show what they ask for, and a program that checks pictures."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from benchmarks.sheet import draw
from studio import Studio
from studio.training.scenes import Scene, SceneMaker


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

    def real(self, maker: SceneMaker) -> list[Image.Image]:
        """Real scenes that show what is asked, one a case: their rate is the ceiling."""
        rng = np.random.default_rng(0)
        return [Image.fromarray(maker.picture(case.scene, rng)) for case in self.cases]

    def line(self, real: float, drawn: Sequence[Image.Image]) -> str:
        """The shares of right answers of real scenes, and of what was drawn, one picture a case."""
        return (
            f"{self.name:<22} real {real:.3f}  drawn {self.rate(drawn):.3f}  "
            f"chance {1 / self.options:.3f}  ({len(drawn)} pictures)"
        )


class Artist:
    """Draws every prompt once from a seed, however many trials ask for it."""

    def __init__(self, studio: Studio, seed: int = 0) -> None:
        self.studio, self.seed = studio, seed
        self.drawn: dict[str, Image.Image] = {}

    def draw(self, prompts: Sequence[str]) -> list[Image.Image]:
        """One picture of each prompt."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.drawn]
        self.drawn |= zip(new, draw(new, self.studio, seed=self.seed), strict=True)
        return [self.drawn[prompt] for prompt in prompts]


def one_by_one(
    check: Callable[[Image.Image, Case], int],
) -> Callable[[Sequence[Image.Image], Sequence[Case]], Sequence[int]]:
    """A check that looks at every picture alone."""
    return lambda pictures, cases: [check(p, c) for p, c in zip(pictures, cases, strict=True)]


def some(cases: Sequence[Case], each: int, rng: random.Random) -> tuple[Case, ...]:
    """``each`` of the cases at random, or all where there are fewer."""
    return tuple(rng.sample(list(cases), min(each, len(cases))))
