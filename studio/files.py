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
    make_folder(folder)
    with _into(folder):
        with _written(folder / f".{secrets.token_hex(8)}.part", data) as part:
            target = _published(part, folder, stem, suffix)
        _synced(target)
    return target


def write_exactly(target: Path, data: bytes, *, part: Path) -> None:
    """Writes ``data`` under the very name ``target``, in a folder that is there.

    Args:
        target: the file; appears only when all of it is on the disk, and stays through a power
            loss once this returns.
        data: the content.
        part: where the unfinished file lies, on the same file system. It is gone afterwards unless
            the process is killed.

    Raises:
        FileExistsError: the name is taken.
        OutputError: read-only, disk full, ...; nothing is left behind.
    """
    with _into(target.parent):
        with _written(part, data):
            if not _given_name(part, target):
                raise FileExistsError(errno.EEXIST, "there is such a file", str(target))
        _synced(target)


def overwrite(target: Path, data: bytes, *, part: Path) -> None:
    """Like :func:`write_exactly`, in place of the file that has the name, if there is one."""
    with _into(target.parent):
        with _written(part, data):
            part.replace(target)
        _sync_folder(target.parent)


def make_folder(folder: Path) -> None:
    """Makes a folder, with those above it, where it is missing.

    Raises:
        OutputError: something else has the name, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{folder} is not a folder.", valid=_VALID_FOLDER) from None
    except (OSError, ValueError) as error:
        raise OutputError(f"Cannot make the folder {folder}: {_reason(error)}.") from error


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
def _into(folder: Path) -> Iterator[None]:
    """Turns what the file system refuses within into an ``OutputError``, but for a taken name."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise OutputError(
            f"Cannot write into {folder}: {_reason(error)}.", valid=_VALID_FOLDER
        ) from error


@contextmanager
def _written(part: Path, data: bytes) -> Iterator[Path]:
    """The file ``part`` with all of ``data`` on the disk, gone after the block."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(part, flags, 0o666)
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
        target = folder / numbered(stem, suffix, number)
        if _given_name(part, target):
            return target
    raise AssertionError("unreachable")


def _given_name(part: Path, target: Path) -> bool:
    """Gives the written file a name; false where it is taken."""
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            _claim_and_replace(part, target)
        except FileExistsError:
            return False
    return True


def _claim_and_replace(part: Path, target: Path) -> None:
    """For file systems without hard links: claims the name, then renames over the claim."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        part.replace(target)
    except OSError:
        target.unlink()
        raise


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def numbered(stem: str, suffix: str, number: int) -> str:
    """The file name ``stem + suffix``, with ``_number`` between from 2 on; shortened to fit."""
    end = suffix if number == 1 else f"_{number}{suffix}"
    room = _LONGEST_NAME - len(end.encode())
    return stem.encode()[:room].decode(errors="ignore") + end


def _synced(target: Path) -> None:
    """Makes the name of a new file last, or takes the file away again."""
    try:
        _sync_folder(target.parent)
    except OSError:
        target.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
