"""Batches that are killed at random and at every change of a file: see batch_kills.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slow.batch_kills import NOTHING

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

FAULTS = Path(__file__).with_name("faults.c")


def killed(*arguments: str, **environment: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
        check=True,
    )
    return {name: int(count) for name, count in json.loads(done.stdout).items()}


@pytest.fixture
def faults(tmp_path: Path) -> str:
    """The library that kills a process at its n-th change of a file."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path / "faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, FAULTS, "-ldl"], check=True)
    return str(library)


def test_a_thousand_jobs_survive_two_hundred_kills() -> None:
    found = killed("tests.slow.batch_kills", "random", "--kills", "200", "--jobs", "1000")
    assert found["kills"] == 200
    assert found["kills over pictures"] > 10
    assert not found["torch"]
    assert {name: found[name] for name in NOTHING} == NOTHING
    assert found["drawn"] <= 1000 * found["batches"] + found["kills"]


@pytest.mark.parametrize("how", [(), ("--redraw", "--every", "40")])
def test_twenty_pictures_of_mini_survive_a_kill_at_every_change(
    faults: str, how: tuple[str, ...]
) -> None:
    flags = ("every", "--jobs", "20", "--model", "mini", *how)
    found = killed("tests.slow.batch_kills", *flags, LD_PRELOAD=faults)
    assert found["changes"] > 200
    assert found["kills"] >= 2 * (found["changes"] // (40 if how else 1))
    assert {name: found[name] for name in NOTHING} == NOTHING


def test_a_batch_over_ray_survives_killed_nodes_and_drivers() -> None:
    pytest.importorskip("ray")
    found = killed("tests.slow.ray_kills")
    assert found["node kills"] + found["driver kills"] >= 3
    assert {name: found[name] for name in NOTHING} == NOTHING
