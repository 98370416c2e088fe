"""Names and passwords: a text file with one ``name:scrypt$...`` a line."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from studio.errors import OutputError, RequestError

FAILURES = 10
"""Wrong passwords from one address within :data:`WINDOW_S` after which it has to wait."""
WINDOW_S = 60.0

_COST = (2**15, 8, 1)  # scrypt's N, r, p: 32 MiB and about a tenth of a second
_MOST_ADDRESSES = 10_000
_VALID_FILE = "a file as `studio web --add-login NAME --logins FILE` writes it"


class Logins:
    """Who may come in.

    Args:
        hashes: password hash of each name, see :func:`hashed`.
    """

    def __init__(self, hashes: Mapping[str, str] | None = None) -> None:
        self._hashes = dict(hashes or {})
        self._nobody = hashed(secrets.token_hex()) if self._hashes else ""
        self._key = secrets.token_bytes(32)
        self._passed: set[bytes] = set()  # keyed hashes, so that one scrypt a password is enough
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        """Whether a login is needed at all."""
        return bool(self._hashes)

    @classmethod
    def read(cls, path: Path) -> Logins:
        """The logins in a file.

        Raises:
            RequestError: no such file, or a line that is none of ours; or no line at all.
        """
        hashes = _read(path)
        if not hashes:
            raise RequestError("logins", str(path), "holds no login", valid=_VALID_FILE)
        return cls(hashes)

    def remembers(self, name: str, password: str) -> bool:
        """Whether this pair passed before; takes no time."""
        return self._mark(name, password) in self._passed

    def check(self, name: str, password: str) -> bool:
        """Whether name and password belong together; as slow for a name that is not there."""
        right = matches(password, self._hashes.get(name, self._nobody))
        if not (right and name in self._hashes):
            return False
        with self._lock:
            self._passed.add(self._mark(name, password))
        return True

    def _mark(self, name: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{name}\0{password}".encode(), "sha256")


class Throttle:
    """Counts wrong passwords by the address that they come from."""

    def __init__(self) -> None:
        self._failures: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """Seconds until ``address`` may try again, 0 where it may now."""
        now = time.monotonic()
        with self._lock:
            times = self._failures.get(address)
            if times is None or len(times) < FAILURES:
                return 0.0
            return max(0.0, times[0] + WINDOW_S - now)

    def failed(self, address: str) -> None:
        """A wrong password came from ``address``."""
        with self._lock:
            if len(self._failures) >= _MOST_ADDRESSES:
                self._failures.pop(next(iter(self._failures)))
            self._failures.setdefault(address, deque(maxlen=FAILURES)).append(time.monotonic())


def hashed(password: str) -> str:
    """A salted scrypt hash (RFC 7914) of a password, as text."""
    salt = secrets.token_bytes(16)
    n, r, p = _COST
    return f"scrypt${n}${r}${p}${_text(salt)}${_text(_scrypt(password, salt, n, r, p))}"


def matches(password: str, kept: str) -> bool:
    """Whether a password is the one that was hashed."""
    _, n, r, p, salt, digest = kept.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(digest))


def add_login(path: Path, name: str, password: str) -> None:
    """Writes a login into a file, made where it is missing; another password of ``name`` goes.

    Raises:
        RequestError: a name or password that cannot be used.
        OutputError: the file cannot be written.
    """
    if not name or not name.isprintable() or ":" in name or name != name.strip():
        raise RequestError("login", name, "cannot be a name", valid="a name without a colon")
    if len(password) < 8:
        raise RequestError("password", "***", "too short", valid="at least 8 characters")
    hashes = _read(path) if path.exists() else {}
    hashes[name] = hashed(password)
    lines = "".join(f"{each}:{kept}\n" for each, kept in hashes.items())
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        part.touch(mode=0o600, exist_ok=False)
        part.write_text(lines, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.", valid="a file name") from None


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise RequestError("logins", str(path), "cannot be read", valid=_VALID_FILE) from None
    hashes = {}
    for number, line in enumerate(lines, 1):
        name, _, kept = line.partition(":")
        if not line.strip():
            continue
        try:
            matches("", kept)
        except (ValueError, binascii.Error):
            reason = f"line {number} is no login"
            raise RequestError("logins", str(path), reason, valid=_VALID_FILE) from None
        hashes[name] = kept
    return hashes


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    memory = 2 * 128 * n * r
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
