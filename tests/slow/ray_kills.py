"""A batch over a simulated Ray cluster whose nodes, or whose driver, are killed at random.

python -m tests.slow.ray_kills --jobs 150 --node-kills 6 --driver-kills 3

Prints one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from studio.batch.batch import run_batch
from studio.batch.engine import Here
from tests.slow.batch_kills import verdict
from tests.studio.batch.stub import StubArtist, jobs

PAUSE_S = 0.4
NODES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=150)
    parser.add_argument("--node-kills", type=int, default=6)
    parser.add_argument("--driver-kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drive", type=Path, help="be the driver of a batch in this folder")
    options = parser.parse_args()
    if options.drive:
        drive(options.drive, options.jobs)
    else:
        print(json.dumps(killed(options)))


def drive(folder: Path, count: int) -> None:
    """A driver: the cluster is the one in RAY_ADDRESS."""
    from studio.batch.ray_engine import cluster

    for result in run_batch(
        folder,
        jobs(count),
        lambda: cluster(lambda _, __: StubArtist(pause_s=PAUSE_S), "cpu", NODES),
    ):
        print(result.job.index, result.drawn, flush=True)


def killed(options: argparse.Namespace) -> dict[str, Any]:
    os.environ |= {"PYTHONPATH": str(Path.cwd()), "RAY_USAGE_STATS_ENABLED": "0"}
    simulated: Any = importlib.import_module("ray.cluster_utils")
    root = Path(tempfile.mkdtemp(prefix="ray-kills-"))
    whole, folder = root / "whole", root / "killed"
    for _ in run_batch(whole, jobs(options.jobs), lambda: Here(StubArtist())):
        pass
    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = simulated.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    nodes = [cluster.add_node(num_cpus=1, **small) for _ in range(NODES)]
    os.environ["RAY_ADDRESS"] = cluster.address
    dice = random.Random(options.seed)
    todo = ["node"] * options.node_kills + ["driver"] * options.driver_kills
    dice.shuffle(todo)
    counts = {"node kills": 0, "driver kills": 0}
    began, driver = time.monotonic(), _driver(folder, options.jobs)
    while driver.poll() is None or todo:
        if driver.poll() is not None:  # ended, or killed: the same command again
            if _there(folder) == options.jobs:
                break
            driver = _driver(folder, options.jobs)
        before, least = (
            _there(folder),
            dice.randint(2, max(3, options.jobs // (len(todo) + 2) // 2)),
        )
        while driver.poll() is None and (not todo or _there(folder) < before + least):
            time.sleep(0.1)
        if todo and driver.poll() is None:
            kind = todo.pop()
            counts[f"{kind} kills"] += 1
            if kind == "driver":
                driver.send_signal(signal.SIGKILL)
                driver.wait()
            else:
                node = nodes.pop(dice.randrange(len(nodes)))
                cluster.remove_node(node, allow_graceful=False)
                nodes.append(cluster.add_node(num_cpus=1, **small))
            print(f"{kind} killed at {_there(folder)} pictures", file=sys.stderr, flush=True)
    seconds = round(time.monotonic() - began, 1)
    cluster.shutdown()
    found = verdict(whole, folder, jobs(options.jobs))
    shutil.rmtree(root)
    return {**counts, "pictures": options.jobs, **found, "seconds": seconds}


def _driver(folder: Path, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.slow.ray_kills", "--drive", str(folder)]
    return subprocess.Popen([*command, "--jobs", str(count)], stdout=subprocess.DEVNULL)


def _there(folder: Path) -> int:
    return len(list(folder.glob("0*.png")))


if __name__ == "__main__":
    main()
