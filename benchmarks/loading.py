"""Seconds and peak memory of loading a full-size single file and drawing a small picture with it.

    python -m benchmarks.loading [--family sd1] [--steps 2] [--edge 128]

The file has random weights, in fp16, in the original layout; it is written to a temporary folder
and loaded in a process of its own. What is measured is loading, not beauty.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

BLOCK = 2**20  # random numbers, used over and over: writing gigabytes is not what is measured


def write(family_name: str, path: Path) -> None:
    """Writes random weights of a family, in fp16, under the original names."""
    import torch
    from safetensors.torch import save_file

    from studio.pipelines.families import named
    from studio.pipelines.single_file import empty_part
    from tests.compvis import single_file

    family = named(family_name)
    assert family, family_name
    block = 0.02 * torch.randn(BLOCK, generator=torch.Generator().manual_seed(0)).half()
    parts = {part: empty_part(part, family) for part in (*family.towers, "unet", "vae")}
    tensors = {}
    for name, tensor in single_file(family, parts).items():
        if tensor.ndim == 1:  # of norms the scale is one, all biases are zero
            tensors[name] = torch.full(
                tensor.shape, float(name.endswith("weight")), dtype=block.dtype
            )
        else:
            times = -(-tensor.numel() // BLOCK)
            tensors[name] = block.repeat(times)[: tensor.numel()].reshape(tensor.shape).clone()
    save_file(tensors, path)


def measure(path: Path, steps: int, edge: int) -> dict[str, object]:
    """Loads and draws; seconds of wall and CPU time, and the peak of resident memory in GB."""
    from studio.facade import Studio

    clock = [(time.perf_counter(), time.process_time())]
    studio = Studio(str(path))
    components = studio.load()
    clock.append((time.perf_counter(), time.process_time()))
    peak = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
    (picture,) = studio.generate("a red apple", steps=steps, width=edge, height=edge, seed=1)
    clock.append((time.perf_counter(), time.process_time()))
    peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    unit = 2**20 if sys.platform == "linux" else 2**30  # macOS counts bytes
    (load_s, load_cpu_s), (draw_s, draw_cpu_s) = (
        (round(b[0] - a[0], 1), round(b[1] - a[1], 1)) for a, b in pairwise(clock)
    )
    return {
        "family": components.family,
        "file_gb": round(path.stat().st_size / 2**30, 2),
        "load_s": load_s,
        "load_cpu_s": load_cpu_s,
        "draw_s": draw_s,
        "draw_cpu_s": draw_cpu_s,
        "peak_after_load_gb": round(peak[0] / unit, 2),
        "peak_gb": round(peak[1] / unit, 2),
        "size": picture.image.size,
    }


def main() -> None:
    """Writes, then measures in another process, and prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", default="sd1")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--edge", type=int, default=128, help="pixels")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        print(json.dumps(measure(options.file, options.steps, options.edge)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        # In processes of their own, so that what writing took does not count as loading's peak.
        writing = (
            f"from benchmarks.loading import *; write({options.family!r}, Path({str(path)!r}))"
        )
        subprocess.run([sys.executable, "-c", writing], check=True)
        again = [sys.executable, "-m", "benchmarks.loading", "--file", str(path)]
        again += ["--steps", str(options.steps), "--edge", str(options.edge)]
        subprocess.run(again, check=True)


if __name__ == "__main__":
    main()
