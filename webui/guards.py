"""ASGI middleware that all requests pass, the page's and its WebSockets' too.

Browsers let any page on the web send requests to this server. What such a page sends carries its
``Origin``; what comes by a name that the page's owner made to lead here carries a foreign ``Host``.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from urllib.parse import urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.webui.logins import Throttle
from studio.webui.settings import Settings

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What is answered without a login: it tells nothing but whether the server is well."""

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_REALM = 'Basic realm="studio", charset="UTF-8"'


class KnownPlaces:
    """Refuses foreign ``Host`` and ``Origin`` headers with 403, ``Origin: null`` too."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what comes from a known place."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = _split(f"//{headers.get('host', '')}")
        if host is None or not self._settings.knows(host[0]):
            message = "Host: this server is not known by that name. See `studio web --help`."
            await refuse(scope, receive, send, 403, message)
            return
        origin = headers.get("origin")
        if origin is not None and not self._is_ours(origin, host):
            message = "Origin: requests from other pages are not answered."
            await refuse(scope, receive, send, 403, message)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                added = [pair for pair in _HEADERS if pair[0] not in there]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self._app(scope, receive, guarded)

    def _is_ours(self, origin: str, host: tuple[str, int | None]) -> bool:
        parts = _split(origin)
        if parts is None or not origin.startswith(("http://", "https://")):
            return False
        name, port = parts
        if name in self._settings.public_names:
            return True
        # Another port of the same machine is another site. A proxy may add TLS to what we speak.
        usual = {443, 80}
        return name == host[0] and (port == host[1] or {port or 80, host[1] or 80} <= usual)


class LoginNeeded:
    """Lets in who names a known login: HTTP Basic, or ``Bearer name:password`` as an API key.

    The name is in ``request.state.owner`` afterwards, empty where no login is asked for.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._logins = app, settings.logins
        self._throttle = Throttle()
        self._one_by_one = CapacityLimiter(1)  # each check takes a core and much memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what carries a right password."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["owner"] = ""
        if not self._logins or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        pair = _credentials(Headers(scope=scope).get("authorization", ""))
        if pair is None:
            await self._refuse(scope, receive, send, "A login is needed.")
            return
        if not self._logins.remembers(*pair):
            address = (scope.get("client") or ("", 0))[0]
            async with self._one_by_one:
                wait = math.ceil(self._throttle.wait_s(address))
                if wait > 0:
                    message = "Too many wrong passwords."
                    retry = (b"retry-after", str(wait).encode())
                    await refuse(scope, receive, send, 429, message, retry)
                    return
                if not await to_thread.run_sync(self._logins.check, *pair):
                    self._throttle.failed(address)
                    await self._refuse(scope, receive, send, "Wrong name or password.")
                    return
        state["owner"] = pair[0]
        await self._app(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, message: str) -> None:
        challenge = (b"www-authenticate", _REALM.encode())
        await refuse(scope, receive, send, 401, message, challenge)


class BodyLimit:
    """Answers 413 to bodies over the limit, however they are sent."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._limit = app, settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on bodies until they are too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        message = f"The body is larger than {self._limit:,} bytes."
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self._limit:
            await refuse(scope, receive, send, 413, message)
            return
        seen, over, started = 0, False, False

        async def counted() -> Message:
            nonlocal seen, over
            if over:
                return {"type": "http.disconnect"}
            part = await receive()
            seen += len(part.get("body", b""))
            over = seen > self._limit
            return {"type": "http.disconnect"} if over else part

        async def guarded(part: Message) -> None:
            nonlocal started
            if not over or started:  # what the application says of a body cut short is no answer
                started = True
                await send(part)

        try:
            await self._app(scope, counted, guarded)
        except Exception:
            if not over or started:
                raise
        if over and not started:
            await refuse(scope, receive, send, 413, message)


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    status: int,
    message: str,
    *headers: tuple[bytes, bytes],
) -> None:
    """Answers in place of the application."""
    if scope["type"] == "websocket":
        await receive()
        # Before it is accepted, closing a WebSocket answers the handshake with 403.
        await send({"type": "websocket.close", "code": 1008, "reason": message[:100]})
        return
    body = json.dumps({"error": {"type": "Refused", "message": message}, "detail": message})
    kind = (b"content-type", b"application/json")
    length = (b"content-length", str(len(body)).encode())
    start = {"type": "http.response.start", "status": status, "headers": [kind, length, *headers]}
    await send(start)
    await send({"type": "http.response.body", "body": body.encode()})


def _split(address: str) -> tuple[str, int | None] | None:
    """Name and port of ``scheme://name:port`` or ``//name:port``."""
    try:
        parts = urlsplit(address)
        return (parts.hostname, parts.port) if parts.hostname else None
    except ValueError:
        return None


def _credentials(header: str) -> tuple[str, str] | None:
    scheme, _, rest = header.partition(" ")
    try:
        if scheme.lower() == "basic":
            rest = base64.b64decode(rest.strip(), validate=True).decode()
        elif scheme.lower() != "bearer":
            return None
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, colon, password = rest.partition(":")
    return (name, password) if colon else None
