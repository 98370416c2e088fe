"""Runs the application until a signal ends it, and then brings what is in hand to a good end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from studio.errors import UnavailableError
from studio.jobs.service import Service
from studio.webui.settings import Settings

log = logging.getLogger(__name__)

_KEEP_S = 60  # an idle connection, so that those that poll need no new one each time
_PATIENCE_S = 5  # for answers that are on their way when the server ends


class Server(uvicorn.Server):
    """A uvicorn server that starts the service once it listens, and ends quietly on a signal."""

    def __init__(
        self, app: FastAPI, service: Service, settings: Settings, warm: str | None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.proxy),
                forwarded_allow_ips=settings.proxy or None,
                timeout_keep_alive=_KEEP_S,
                timeout_graceful_shutdown=_PATIENCE_S,
                h11_max_incomplete_event_size=64 * 1024,
            )
        )
        self._app, self._service, self._warm = app, service, warm

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, then begins to draw."""
        await super().startup(sockets)
        if not self.should_exit:
            self._service.start(self._warm)
            port = self.servers[0].sockets[0].getsockname()[1]
            log.info("listening", extra={"host": self.config.host, "port": port})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal asks for the end: those that wait for a job are sent away."""
        if not self.should_exit:  # a second signal must not wait for what the first one holds
            self._service.wind_down()
        super().handle_exit(sig, frame)
        log.info("stopping", extra={"signal": signal.Signals(sig).name})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the streams first: they would keep the server waiting."""
        self._app.state.hub.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends on SIGINT and SIGTERM. They are not raised again afterwards: there is work left."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {sig: signal.signal(sig, self.handle_exit) for sig in signals}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def serve(app: FastAPI, service: Service, settings: Settings, warm: str | None) -> NoReturn:
    """Serves until a signal comes, finishes the picture in hand or puts it back, and ends the
    process: taking torch down in order takes longer than a supervisor waits.

    Raises:
        UnavailableError: the server cannot listen at its address.
    """
    server = Server(app, service, settings, warm)
    try:
        server.run()
    except SystemExit:  # how uvicorn says that it cannot listen
        service.stop(finish=False)
        where = f"{settings.host}:{settings.port}"
        raise UnavailableError(f"Cannot listen at {where}.", valid="another --port") from None
    # After a second signal, the picture in hand is put back into the queue at once.
    service.stop(finish=not server.force_exit, timeout_s=settings.grace_s)
    log.info("stopped")
    logging.shutdown()
    os._exit(0)
