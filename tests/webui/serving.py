"""A real server in a thread, for real clients."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from fastapi import FastAPI

from studio.jobs.service import Service
from studio.webui.application import create_app
from studio.webui.server import Server
from studio.webui.settings import Settings


class Running(Server):
    """Tells when it listens."""

    up: threading.Event

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens."""
        await super().startup(sockets)
        self.up.set()


def application(service: Service, settings: Settings, *, page: bool = True) -> FastAPI:
    """The application, made within a loop: without a running one, Gradio leaves new ones open."""

    async def build() -> FastAPI:
        return create_app(service, settings, page=page)

    return asyncio.run(build())


@contextmanager
def serving(
    service: Service, settings: Settings | None = None, *, page: bool = False
) -> Iterator[int]:
    """Serves at a free port of this machine, which it gives, and ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    settings = replace(settings or Settings(), port=port)
    server = Running(application(service, settings, page=page), service, settings, warm=None)
    server.up = threading.Event()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.up.wait(60)
        yield port
    finally:
        server.should_exit = True
        thread.join(60)
        service.stop(finish=False)
