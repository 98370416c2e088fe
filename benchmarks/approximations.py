"""What shortcuts save and what they cost: speed and likeness to a picture of many steps.

    python -m benchmarks.approximations --model mini --prompts 8

Every shortcut draws the same prompts from the same seeds. Likeness is the peak signal-to-noise
ratio to 50 plain steps, over all pixels of all pictures; time is the least CPU time of a picture,
in turns. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.sheet import PROMPTS, read_prompts
from studio import Studio

REFERENCE: dict[str, Any] = {"steps": 50}
SHORTCUTS: dict[str, dict[str, Any]] = {
    "20 steps": {"steps": 20},
    "20 steps, guidance 0 to 0.5": {"steps": 20, "guidance_end": 0.5},
    "20 steps, guidance 0.2 to 0.8": {"steps": 20, "guidance_start": 0.2, "guidance_end": 0.8},
    "20 steps, reuse 2": {"steps": 20, "reuse": 2},
    "20 steps, reuse 3": {"steps": 20, "reuse": 3},
    "12 steps": {"steps": 12},
    "10 steps": {"steps": 10},
    "10 steps, Karras": {"steps": 10, "sampler": "DPM++ 2M", "schedule": "Karras"},
    "10 steps, AYS": {"steps": 10, "sampler": "DPM++ 2M", "schedule": "Align Your Steps"},
    "10 steps, reuse 2": {"steps": 10, "reuse": 2},
}


def psnr(pictures: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> float:
    """Decibels of pictures [H, W, 3] in 0 to 255 against as many references."""
    errors = [
        np.square(a.astype(np.float64) - b).mean()
        for a, b in zip(pictures, references, strict=True)
    ]
    return float(10 * np.log10(255**2 / max(np.mean(errors), 1e-12)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.approximations")
    parser.add_argument("--model", default="mini", help="model or folder of weights (mini)")
    parser.add_argument("--prompts", type=int, default=8, help="prompts (8)")
    options = parser.parse_args(arguments)
    studio = Studio(options.model)
    studio.load()
    drawn: dict[str, list[np.ndarray]] = {}
    seconds: dict[str, list[float]] = {}
    asked = {"50 steps": REFERENCE, **SHORTCUTS}
    for seed, prompt in enumerate(read_prompts(PROMPTS)[: options.prompts]):
        next(studio.generate(prompt, seed=seed, steps=1))  # reads the prompt
        for name, fields in asked.items():
            began = time.process_time()
            picture = next(studio.generate(prompt, seed=seed, **fields))
            seconds.setdefault(name, []).append(time.process_time() - began)
            drawn.setdefault(name, []).append(np.asarray(picture.image))
    print(f"{options.model}, {options.prompts} prompts, torch {torch.__version__}\n")
    print("| | CPU seconds | times faster | dB to 50 steps |\n|---|---|---|---|")
    for name in asked:
        taken = min(seconds[name])
        faster = min(seconds["50 steps"]) / taken
        likeness = "" if name == "50 steps" else f"{psnr(drawn[name], drawn['50 steps']):.1f}"
        print(f"| {name} | {taken:.2f} | {faster:.1f} | {likeness} |")


if __name__ == "__main__":
    main()
