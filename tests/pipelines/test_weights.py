from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from studio.errors import ModelError
from studio.pipelines.weights import check, checked_weights, fingerprint

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 42\n"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2)}, path)
    return path


def test_whole_files_pass(whole: Path, tmp_path: Path) -> None:
    check(whole)
    save_file({}, tmp_path / "none.safetensors")
    check(tmp_path / "none.safetensors")


@pytest.mark.parametrize("header", [0x280, 0x380, 0x4B50])
def test_a_header_whose_length_looks_like_a_pickle_passes(tmp_path: Path, header: int) -> None:
    text = json.dumps({"__metadata__": {}}).ljust(header)
    path = tmp_path / "model.safetensors"
    path.write_bytes(header.to_bytes(8, "little") + text.encode())
    check(path)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": [1, 2, 3]}))


def _torch_save(path: Path) -> None:
    torch.save({"a": torch.ones(2)}, path)


@pytest.mark.parametrize(
    ("spoil", "problem", "remedy"),
    [
        (lambda p: p.write_bytes(b""), r"\(0 bytes\) is empty", "again"),
        (lambda p: p.write_text(POINTER), "Git LFS pointer", "git lfs pull"),
        (_truncate, "cut off: .* bytes are needed", "again"),
        (lambda p: p.write_bytes(p.read_bytes()[:20]), "cut off within its header", "again"),
        (_lengthen, "damaged", "again"),
        (_pickle, "is a pickle", "safetensors"),
        (_torch_save, "is a pickle", "safetensors"),
        (lambda p: p.write_text("<!doctype html><p>Not found"), "web page", "again"),
        (lambda p: p.write_bytes(b"\xff" * 64), "no safetensors", "safetensors"),
    ],
)
def test_a_spoilt_file_is_refused_by_content_in_one_line(
    whole: Path, spoil: Callable[[Path], None], problem: str, remedy: str
) -> None:
    spoil(whole)
    with pytest.raises(ModelError, match=problem) as caught:
        check(whole)
    assert str(whole) in str(caught.value)
    assert f"({whole.stat().st_size:,} bytes)" in str(caught.value)
    assert remedy in caught.value.valid
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300))
def test_noise_in_a_file_is_refused_and_nothing_worse(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="fuzz"):
        check(path)


def test_variants_and_shards_are_found(whole: Path, tmp_path: Path) -> None:
    assert checked_weights(tmp_path).variant is None
    whole.rename(tmp_path / "model.fp16.safetensors")
    assert checked_weights(tmp_path).variant == "fp16"
    first = tmp_path / "model-00001-of-00002.safetensors"
    (tmp_path / "model.fp16.safetensors").rename(first)
    second = shutil.copy(first, tmp_path / "model-00002-of-00002.safetensors")
    assert checked_weights(tmp_path).files == (first, second)


def test_a_folder_of_pickles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights"):
        checked_weights(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights only"):
        checked_weights(tmp_path)


def test_the_fingerprint_follows_names_and_contents_only(whole: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / whole.name
    copy.parent.mkdir()
    shutil.copy(whole, copy)
    one = fingerprint(tmp_path, [whole])
    assert fingerprint(copy.parent, [copy]) == one
    assert fingerprint(tmp_path, [copy, whole]) == fingerprint(tmp_path, [whole, copy]) != one
    whole.write_bytes(whole.read_bytes()[:-1] + b"\x01")
    assert fingerprint(tmp_path, [whole]) != one
