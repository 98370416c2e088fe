"""Peak memory of drawing one picture in each memory mode, each in a process of its own.

    python -m benchmarks.memory --size sd15 --memory high,low,lowest [--steps 1] [--edge 512]

sd15 and sdxl are full-size files of random weights, in fp16, written to ``--folder`` and removed
afterwards; mini is the model in the box. On a GPU the peak is what torch has allocated on it,
elsewhere the resident memory of the process that is no file's (sampled, Linux only). "planned" is
what the studio estimated from the file's header, without the interpreter and its libraries.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.command_line import command_line

FAMILIES = {"sd15": "sd1", "sdxl": "sdxl"}
MODES = ("high", "low", "lowest")
_STATUS = Path("/proc/self/status")
_EVERY_S = 0.005
_GB = 1e9


class Peak:
    """The most anonymous memory that the process holds within, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY_S):
            self.bytes = max(self.bytes, held())


def held() -> int:
    """Anonymous memory of this process in bytes; 0 where the system does not tell."""
    try:
        found = re.search(r"RssAnon:\s+(\d+)", _STATUS.read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def measure(model: str, memory: str, device: str, steps: int, edge: int) -> dict[str, object]:
    """Loads and draws; seconds, and the peak in GB above the interpreter and its libraries."""
    import torch

    from studio.facade import Studio
    from studio.pipelines import drawing, memory_plan  # noqa: F401 (their own memory aside)

    began, before = time.perf_counter(), held()
    with Peak() as loading:
        studio = Studio(model, device=device, memory=memory)
        components = studio.load()
    loaded = time.perf_counter()
    with Peak() as drawing_peak:
        next(studio.generate("a red apple", steps=steps, width=edge, height=edge, seed=1))
    drawn = time.perf_counter()
    peaks = loading.bytes - before, drawing_peak.bytes - before
    if components.runtime.device.startswith("cuda"):
        peaks = 0, torch.cuda.max_memory_allocated(components.runtime.device)
    mode = components.memory.mode if components.memory else memory
    plan = memory_plan.plan(components.card, replace(components.runtime, memory=mode), (edge, edge))
    return {
        "memory": mode,
        "device": components.runtime.device,
        "precision": components.runtime.precision,
        "edge": edge,
        "load_s": round(loaded - began, 1),
        "draw_s": round(drawn - loaded, 1),
        "peak_load_gb": round(peaks[0] / _GB, 2),
        "peak_draw_gb": round(peaks[1] / _GB, 2),
        "planned_gb": round(plan.planned / _GB, 2),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one JSON object a mode."""
    options = _options(arguments)
    if options.model:
        (mode,) = options.memory
        found = measure(options.model, mode, options.device, options.steps, options.edge)
        print(json.dumps(found), flush=True)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        model = options.size
        if model in FAMILIES:
            model = str(Path(folder) / "model.safetensors")
            writing = f"write({FAMILIES[options.size]!r}, Path({model!r}))"
            code = f"from benchmarks.loading import *; {writing}"
            subprocess.run([sys.executable, "-c", code], check=True)
        for mode in options.memory:
            again = [sys.executable, "-m", "benchmarks.memory", "--model", model]
            again += ["--memory", mode, "--device", options.device]
            again += ["--steps", str(options.steps), "--edge", str(options.edge)]
            subprocess.run(again, check=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line("memory", __doc__)
    parser.add_argument("--size", choices=[*FAMILIES, "mini"], default="mini")
    parser.add_argument("--memory", type=lambda text: text.split(","), default=list(MODES))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--edge", type=int, default=512, help="pixels (512)")
    parser.add_argument("--folder", type=Path, help="for the file of weights (the system's)")
    parser.add_argument("--model", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
