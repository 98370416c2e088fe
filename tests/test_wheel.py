"""The wheel holds the whole house once, and works from a folder with a ``pipelines`` of its own.

Slow: run with ``pytest -m slow tests/test_wheel.py``. Needs setuptools 77 or newer, no network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
ROOMS = ("configs", "pipelines", "schedulers", "webui")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        int(version("setuptools").partition(".")[0]) < 77, reason="setuptools 77 builds the wheel"
    ),
]


def pip(*arguments: str) -> None:
    subprocess.run((sys.executable, "-m", "pip", *arguments), check=True, capture_output=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheel is built from, so that no earlier build is in the way."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("studio", *ROOMS):
        shutil.copytree(
            HOUSE / name,
            folder / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(HOUSE / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(source))
    (built,) = folder.glob("latent_studio-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", str(folder), str(wheel))
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A user's folder whose packages are named like our rooms."""
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("MINE = True\n", encoding="utf-8")
    return tmp_path


def run(*command: str | Path, installed: Path, folder: Path) -> str:
    """What a command prints that finds the installed wheel before anything else."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_once_and_under_studio(wheel: Path, source: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    expected = {
        Path("" if room == "studio" else "studio", path.relative_to(source)).as_posix()
        for room in ("studio", *ROOMS)
        for path in (source / room).rglob("*")
        if path.is_file() and not any(parent.is_symlink() for parent in path.parents)
    }
    assert sorted(names) == sorted(expected)
    assert "studio/py.typed" in names


def test_our_rooms_and_the_users_own_live_side_by_side(installed: Path, elsewhere: Path) -> None:
    code = (
        "import studio.pipelines.request as ours, pipelines, configs;"
        "print(ours.__file__, pipelines.MINE, configs.MINE)"
    )
    printed = run(sys.executable, "-c", code, installed=installed, folder=elsewhere)
    assert printed.split() == [str(installed / "studio/pipelines/request.py"), "True", "True"]


@pytest.mark.parametrize(
    ("command", "shown"), [("--help", "generate"), ("samplers", "Euler a"), ("models", "mini")]
)
def test_the_command_works(installed: Path, elsewhere: Path, command: str, shown: str) -> None:
    studio = installed / "bin" / "studio"
    assert shown in run(studio, command, installed=installed, folder=elsewhere)
