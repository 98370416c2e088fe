"""Weight files, judged by content before any library opens them. Loads no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from studio.errors import ModelError

_NAMES = ("diffusion_pytorch_model", "model")
_VARIANTS = (None, "fp32", "fp16", "bf16")
_MOST_HEADER = 100_000_000  # bytes; safetensors' own limit


@dataclass(frozen=True)
class Weights:
    """The weight files of one part of a model.

    Args:
        files: safetensors files, checked.
        variant: diffusers' name for the precision on disk, as in ``model.fp16.safetensors``.
    """

    files: tuple[Path, ...]
    variant: str | None


def checked_weights(folder: Path) -> Weights:
    """Finds a part's safetensors files (one, or shards) and checks each.

    Raises:
        ModelError: there are none, or one is broken or unsafe; path, size and remedy in one line.
    """
    for variant in _VARIANTS:
        for name in _NAMES:
            stem = f"{name}.{variant}" if variant else name
            whole = folder / f"{stem}.safetensors"
            shards = sorted(folder.glob(f"{stem}-?????-of-?????.safetensors"))
            if whole.is_file() or shards:
                found = (whole,) if whole.is_file() else tuple(shards)
                for path in found:
                    check(path)
                return Weights(found, variant)
    others = sorted(p.name for p in folder.glob("*") if p.suffix in (".bin", ".ckpt", ".pt"))
    if others:
        raise ModelError(
            f"{folder} holds pickled weights only ({others[0]}), which can run code when opened.",
            valid="the same weights as .safetensors",
        )
    raise ModelError(f"{folder} holds no weights.", valid="a .safetensors file from the model")


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself before its numbers.

    Args:
        shapes: of each tensor, by name.
        metadata: free text that its writer added.
        dtypes: type of each tensor as safetensors names it, such as "F16", by name.
    """

    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]
    dtypes: Mapping[str, str]

    def dtype(self, prefixes: tuple[str, ...] = ("",)) -> str:
        """The one type of all floating-point tensors so named; "" where they differ."""
        found = {
            dtype
            for name, dtype in self.dtypes.items()
            if name.startswith(prefixes) and "F" in dtype
        }
        return found.pop() if len(found) == 1 else ""


def check(path: Path) -> Header:
    """Checks that a file is whole safetensors, by its content, whatever its name.

    Raises:
        ModelError: it is empty, cut off, a Git LFS pointer, a pickle or something else.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            fits = size >= 8 and 2 <= length <= min(size - 8, _MOST_HEADER)
            found = _header(file.read(length)) if fits else None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ModelError(f"{path} cannot be read: {why}.", valid="a file to read") from None
    if found is not None:
        header, end = found
        needed = 8 + length + end
        if needed == size:
            return header
        problem = f"is cut off: {needed:,} bytes are needed" if size < needed else "is damaged"
        raise ModelError(f"{path} ({size:,} bytes) {problem}.", valid="download it again")
    problem, remedy = _diagnosis(size, start)
    raise ModelError(f"{path} ({size:,} bytes) {problem}.", valid=remedy)


def _header(raw: bytes) -> tuple[Header, int] | None:
    """The header, and where the last tensor ends; None where it is none."""
    try:
        tensors = json.loads(raw)
        metadata = {str(k): str(v) for k, v in (tensors.pop("__metadata__", None) or {}).items()}
        shapes = {name: tuple(map(int, tensor["shape"])) for name, tensor in tensors.items()}
        dtypes = {name: str(tensor["dtype"]) for name, tensor in tensors.items()}
        ends = [tensor["data_offsets"][1] for tensor in tensors.values()]
    except (ValueError, AttributeError, TypeError, KeyError, IndexError):
        return None
    if not all(type(end) is int for end in ends):
        return None
    return Header(shapes, metadata, dtypes), max(ends, default=0)


def _diagnosis(size: int, start: bytes) -> tuple[str, str]:
    again = "download it again"
    if size == 0:
        return "is empty", again
    if start.startswith(b"version "):
        return "is a Git LFS pointer, not the weights", "run `git lfs pull` in the model's folder"
    if start.startswith(b"PK") or (start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5"):
        return (
            "is a pickle, which can run code when opened",
            "the same weights as .safetensors",
        )
    if start[:1] in (b"<", b"{"):
        return "is a text or web page, not weights", again
    if size < 8 or 2 <= int.from_bytes(start, "little") <= _MOST_HEADER:
        return "is cut off within its header", again
    return "is no safetensors file", "weights saved as .safetensors"


def fingerprint(folder: Path, paths: Iterable[Path]) -> str:
    """SHA-256 (64 hex digits) over the sorted lines ``<relative path> <SHA-256 of the file>``."""
    lines = []
    for path in paths:
        lines.append(f"{path.relative_to(folder).as_posix()} {file_sha256(path)}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def file_sha256(path: Path, *, tensors_only: bool = False) -> str:
    """SHA-256 of a file, 64 hex digits; of safetensors on request without their header."""
    about = path.stat()
    return _file_sha256(path, about.st_size, about.st_mtime_ns, tensors_only)


@lru_cache(maxsize=256)
def _file_sha256(path: Path, size: int, mtime_ns: int, tensors_only: bool) -> str:  # noqa: ARG001
    with path.open("rb") as file:
        if tensors_only:
            file.seek(8 + int.from_bytes(file.read(8), "little"))
        return hashlib.file_digest(file, "sha256").hexdigest()
