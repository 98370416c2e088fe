"""How the server is reached, by whom, and how much it takes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from studio.errors import RequestError
from studio.webui.logins import Logins

MEGABYTE = 2**20
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True)
class Settings:
    """Settings of one server.

    Args:
        host: address to listen at.
        port: port to listen at.
        logins: who may come in; without any, everybody may, from this machine only.
        public_names: names under which a proxy serves the studio, such as ``draw.example.org``.
        proxy: address of that proxy, whose word on the client's address and scheme is believed.
        max_body_bytes: largest body of a request.
        grace_s: how long the picture in hand may take to finish when the server stops.

    Raises:
        RequestError: others than this machine could come in without a login.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    logins: Logins = field(default_factory=Logins)
    public_names: tuple[str, ...] = ()
    proxy: str = ""
    max_body_bytes: int = 64 * MEGABYTE
    grace_s: float = 20.0

    def __post_init__(self) -> None:
        if self.logins:
            return
        opened = {
            "host": "" if is_loopback(self.host) else self.host,
            "public_names": ", ".join(self.public_names),
            "proxy": self.proxy,
        }
        for name, value in opened.items():
            if value:
                reason = "without a login, anybody could draw here and see everything"
                raise RequestError(
                    name, value, reason, valid="127.0.0.1 alone, or also a file of logins"
                )

    def knows(self, name: str) -> bool:
        """Whether ``name`` (of a ``Host`` header, without the port) is one of this server's.

        An attacker's page can make its own name lead here (DNS rebinding), but not a number: so
        where every address is listened at, numbers are let in and names are not.
        """
        if name in self.public_names or name == self.host:
            return True
        if is_loopback(self.host) or self.host in _EVERY_ADDRESS:
            return name in _LOOPBACK_NAMES or (self.host in _EVERY_ADDRESS and _is_number(name))
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
