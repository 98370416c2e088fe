"""The house holds: links are folders, packages listed, arrows run down, bare names banned."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).parents[1]
ROOMS = ("pipelines", "schedulers", "webui", "configs")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((HOUSE / "pyproject.toml").read_text(encoding="utf-8"))


def run(*command: str, folder: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Runs one of this environment's tools in a folder and hands back what it said."""
    return subprocess.run(
        command, cwd=folder, input=given, capture_output=True, text=True, check=False
    )


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    return run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache", folder=tree)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the Python sources and links, free to be broken."""
    pytest.importorskip("importlinter")
    for name in (*ROOMS, "studio"):
        shutil.copytree(
            HOUSE / name,
            tmp_path / name,
            symlinks=True,
            ignore=lambda folder, names: [
                each
                for each in names
                if each == "__pycache__"
                or ((path := Path(folder, each)).is_file() and path.suffix != ".py")
            ],
        )
    shutil.copy(HOUSE / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("room", ROOMS)
def test_a_link_leads_to_its_room(room: str) -> None:
    link = HOUSE / "studio" / room
    assert link.is_dir(), f"{link} is no folder: mypy would silently check less"
    assert link.resolve() == HOUSE / room
    if link.is_symlink():
        assert link.readlink() == Path("..", room), "the link must be relative"


def test_every_folder_with_python_files_is_a_listed_package(pyproject: dict[str, Any]) -> None:
    setuptools = pyproject["tool"]["setuptools"]
    folders = {
        path.parent.relative_to(HOUSE)
        for room in (*ROOMS, "studio")
        for path in (HOUSE / room).rglob("*.py")
        if not any(parent.is_symlink() for parent in path.parents)
    }
    found = {
        ".".join(folder.parts if folder.parts[0] == "studio" else ("studio", *folder.parts))
        for folder in folders
    }
    assert found == set(setuptools["packages"])
    # A package is found through the nearest one above it that is mapped, so each must be mapped.
    assert setuptools["package-dir"] == {
        "studio": "studio",
        **{
            name: name.removeprefix("studio.").replace(".", "/")
            for name in found
            if name.split(".")[1:2] and name.split(".")[1] in ROOMS
        },
    }


def test_every_listed_package_has_its_init_file(pyproject: dict[str, Any]) -> None:
    for package in pyproject["tool"]["setuptools"]["packages"]:
        assert HOUSE.joinpath(*package.split("."), "__init__.py").is_file(), package


def test_the_arrows_hold(tree: Path) -> None:
    checked = lint_imports(tree)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("module", "planted", "contract"),
    [
        ("pipelines/request.py", "import studio.cli.main", "Arrows run down only"),
        ("schedulers/catalogue.py", "import studio.pipelines.request", "Arrows run down only"),
        ("configs/__init__.py", "import studio.schedulers.catalogue", "Arrows run down only"),
        ("studio/errors.py", "import studio.configs", "Arrows run down only"),
        ("studio/facade.py", "import studio.webui", "Arrows run down only"),
        ("pipelines/request.py", "import gradio", "gradio in webui only"),
        ("pipelines/request.py", "import xformers.ops", "xformers in the attention module only"),
        ("studio/cli/main.py", "import open_clip", "open_clip in the conditioner"),
        ("webui/__init__.py", "import torch", "No torch in webui"),
    ],
)
def test_a_planted_import_is_found(tree: Path, module: str, planted: str, contract: str) -> None:
    with (tree / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{planted}\n")
    checked = lint_imports(tree)
    assert checked.returncode != 0
    assert contract in checked.stdout.partition("Broken contracts")[2], checked.stdout


def test_an_unplaced_module_is_found(tree: Path) -> None:
    (tree / "studio" / "nowhere.py").write_text('"""In no room."""\n', encoding="utf-8")
    checked = lint_imports(tree)
    assert checked.returncode != 0
    assert "studio.nowhere" in checked.stdout


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("from .stages import denoise\n", "TID252"),
        *((f"import {room}\n", "TID251") for room in ROOMS),
        *((f"from {room}.somewhere import thing\n", "TID251") for room in ROOMS),
    ],
)
def test_ruff_refuses_relative_imports_and_bare_names(source: str, rule: str) -> None:
    pytest.importorskip("ruff")
    command = ("ruff", "check", "--no-cache", "--stdin-filename", "pipelines/planted.py", "-")
    checked = run(sys.executable, "-m", *command, folder=HOUSE, given=source)
    assert checked.returncode != 0
    assert rule in checked.stdout
