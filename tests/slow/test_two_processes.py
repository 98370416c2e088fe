"""Training by two processes, as docs/training.md says it for two cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.drawn import write_drawings


@pytest.mark.slow
def test_two_processes_checkpoint_by_one_clock_and_end(tmp_path: Path) -> None:
    data, out = write_drawings(tmp_path / "drawings.zip", side=32), tmp_path / "vae"
    overrides = (
        "shape.channels=[8, 8, 8, 8]", "shape.latent_channels=4", "crop=32", "loop.batch_size=2",
        # Some steps long: by clocks of their own the processes would differ in the step.
        "loop.steps=40", "loop.decay_steps=0", "loop.checkpoint_minutes=0.003",
        "loop.log_seconds=0.000001",
    )  # fmt: skip
    launch = ["torch.distributed.run", "--nproc-per-node", "2", "-m"]
    train = ["studio.cli.main", "train", "vae", "--data", str(data), "--out", str(out)]
    settings = [word for override in overrides for word in ("--set", override)]
    done = subprocess.run(
        [sys.executable, "-m", *launch, *train, *settings],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "checkpoint" / "step.json").read_text()) == {"step": 40}
    # Had each process trained for itself, both would have written every line.
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert (out / "weights" / "diffusion_pytorch_model.safetensors").is_file()
