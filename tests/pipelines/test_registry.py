from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studio.cli.main import main
from studio.errors import ModelError
from studio.pipelines import families, hub, registry
from studio.pipelines.cards import card, models
from studio.pipelines.components import load
from studio.pipelines.placement import Runtime
from tests.tiny import tiny_components
from tests.tiny_families import tiny_family, tiny_tensors, write

PINNED = "nobody/nothing@" + "0" * 40


@pytest.fixture(autouse=True)
def _own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_config_path", lambda *_: tmp_path / "config")
    known = tiny_family("sd1"), tiny_family("sd2")
    monkeypatch.setattr(families, "families", lambda: known)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tiny_tensors("sd2"), tmp_path / "cartoon.safetensors")


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(["models", *args])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_a_model_is_added_listed_drawn_with_and_forgotten(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(
        capsys, "add", str(file), "--name", "toon", "--licence", "CreativeML Open RAIL-M",
        "--prediction", "v_prediction",
    )  # fmt: skip
    assert code == 0
    (entry,) = registry.entries()
    assert entry.sha256 in out
    assert (entry.name, entry.family, entry.size) == ("toon", "sd2", file.stat().st_size)
    _, out, _ = run(capsys, "--json")
    (shown,) = [row for row in json.loads(out) if row["name"] == "toon"]
    assert (shown["family"], shown["licence"]) == ("sd2", "CreativeML Open RAIL-M")
    assert shown["path"] == str(file)
    about = card("toon")
    assert about in models()
    assert about.scheduler_config["prediction_type"] == "v_prediction"
    loaded = load("toon", Runtime(device="cpu"))
    assert loaded.name == "toon"
    assert loaded.weights_sha256 == entry.sha256
    assert loaded.scheduler_config["prediction_type"] == "v_prediction"
    code, out, _ = run(capsys, "remove", "toon")
    assert code == 0
    assert file.is_file()
    assert not registry.entries()
    with pytest.raises(ModelError, match="'toon' is no known model"):
        card("toon")


def test_a_folder_is_named_after_itself(capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_components()
    assert run(capsys, "add", str(folder))[0] == 0
    assert card(folder.name).path == folder.resolve()
    assert card(folder.name).family == "stable-diffusion"


def test_what_has_moved_or_changed_is_refused_with_the_remedy(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "add", str(file))
    write(tiny_tensors("sd1"), file)
    with pytest.raises(ModelError, match="has changed since it was added") as caught:
        card("cartoon")
    assert f"studio models add {file}" in caught.value.valid
    file.unlink()
    with pytest.raises(ModelError, match="is gone") as caught:
        card("cartoon")
    assert "studio models remove cartoon" in caught.value.valid
    code, out, _ = run(capsys)
    assert code == 0
    assert "is gone" in " ".join(out.split())
    assert all(known.name != "cartoon" for known in models())
    assert card("mini").name == "mini"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["remove", "nothing"], "is no model that was added"),
        (["add", "no/such/file.safetensors"], "is no known model, folder or file"),
        (["add", "{file}", "--name", "mini"], "already means something else"),
        (["add", PINNED], "nothing is fetched unasked"),
    ],
)
def test_mistakes_are_one_line(
    args: list[str], says: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = run(capsys, *(arg.format(file=file) for arg in args))
    assert code == 3
    assert says in error
    assert error.count("\n") == 1


def test_a_damaged_list_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    registry.location().parent.mkdir()
    registry.location().write_text('[{"name": 1}]', encoding="utf-8")
    code, _, error = run(capsys, "remove", "x")
    assert code == 3
    assert str(registry.location()) in error


@pytest.mark.parametrize("text", ["org/name", "org/name@main", "org/name@abc123"])
def test_a_hub_id_needs_its_revision(text: str) -> None:
    with pytest.raises(ModelError, match="names no fixed revision") as caught:
        card(text)
    assert "40 hex digits" in caught.value.valid


def test_the_hub_is_asked_for_safetensors_of_one_revision_and_only_if_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[dict[str, Any]] = []

    def fetched(name: str, **settings: Any) -> str:
        calls.append({"name": name, **settings})
        return str(tiny_components())

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    about = card(PINNED)
    assert calls[-1]["local_files_only"] is True
    assert (about.name, about.path) == (PINNED, tiny_components())
    hub.folder(PINNED, allow_download=True)
    assert calls[-1]["local_files_only"] is False
    assert (calls[-1]["name"], calls[-1]["revision"]) == ("nobody/nothing", "0" * 40)
    wanted = calls[-1]["allow_patterns"]
    assert not any(pattern.endswith((".bin", ".ckpt", ".pt", ".py", "*")) for pattern in wanted)


def test_a_path_is_never_taken_for_a_hub_id(tmp_path: Path) -> None:
    for text in ("some/file.safetensors", str(tmp_path / "x"), "./org/name", "../x"):
        with pytest.raises(ModelError, match="is no known model"):
            card(text)
