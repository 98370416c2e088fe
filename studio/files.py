"""Files that appear whole or not at all, and never over another."""

from __future__ import annotations

import errno
import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pathvalidate import ValidationError, sanitize_filename, validate_filename

from studio.errors import OutputError

_LONGEST_NAME = 255  # bytes; what the common file systems take
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_VALID_FOLDER = "a folder that can be written to, with room in it"


def write_new(folder: Path, stem: str, suffix: str, data: bytes) -> Path:
    """Writes ``data`` into ``folder`` under a name that was free, and returns the path.

    The name is ``stem + suffix``, or ``stem_2 + suffix`` and so on where that is taken. The file
    appears under it only when all of it is on the disk; several threads and processes may write
    the same name at the same time.

    Args:
        folder: made where it is missing.
        stem: safe file name without ending (see :func:`safe_stem`), shortened where too long.
        suffix: ending with its dot.
        data: the content.

    Raises:
        OutputError: not a folder, read-only, disk full, ...; nothing is left behind.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{folder} is not a folder.", valid=_VALID_FOLDER) from None
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot make the folder {folder}: {_reason(error)}.") from error
    try:
        with _written(folder, data) as part:
            target = _published(part, folder, stem, suffix)
        try:
            _sync_folder(folder)
        except OSError:
            target.unlink()
            raise
    except OSError as error:
        raise OutputError(
            f"Cannot write into {folder}: {_reason(error)}.", valid=_VALID_FOLDER
        ) from error
    return target


def safe_stem(name: str) -> str:
    """``name`` made a file name that any system takes: no separators, reserved names, end dots."""
    stem = sanitize_filename(name.strip(". "), replacement_text="_", platform="universal")
    return stem.strip(". ") or "_"


def check_name(name: str) -> None:
    """Refuses a file name that not every system takes.

    Raises:
        OutputError: separators, reserved names, trailing dots, control characters, too long.
    """
    try:
        validate_filename(name, platform="universal")
    except ValidationError as error:
        raise OutputError(
            f"The file name {name[:80]!r} cannot be used: {error.description}.",
            valid="a name of at most 255 bytes without separators or reserved words",
        ) from None


@contextmanager
def _written(folder: Path, data: bytes) -> Iterator[Path]:
    """A hidden file in ``folder`` with all of ``data`` on the disk, gone after the block."""
    part = folder / f".{secrets.token_hex(8)}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0))
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _published(part: Path, folder: Path, stem: str, suffix: str) -> Path:
    """Gives the written file its first free name. A link, unlike a rename, never overwrites."""
    for number in itertools.count(1):
        target = folder / _numbered(stem, suffix, number)
        try:
            os.link(part, target)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            try:
                _claim_and_replace(part, target)
            except FileExistsError:
                continue
        return target
    raise AssertionError("unreachable")


def _claim_and_replace(part: Path, target: Path) -> None:
    """For file systems without hard links: claims the name, then renames over the claim."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    try:
        part.replace(target)
    except OSError:
        target.unlink()
        raise


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _numbered(stem: str, suffix: str, number: int) -> str:
    end = suffix if number == 1 else f"_{number}{suffix}"
    room = _LONGEST_NAME - len(end.encode())
    return stem.encode()[:room].decode(errors="ignore") + end


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
