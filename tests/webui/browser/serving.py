"""The whole server in a thread, with a painter in place of a model."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import uvicorn

from studio.jobs.service import Service
from studio.webui.application import create_app
from studio.webui.settings import Settings
from tests.webui.browser.painter import Gate, Painter


class Server:
    """Serves the studio until it is stopped; can be started again on the same address.

    Args:
        folder: keeps the jobs.
        stub: whether the painter draws, else the model in the box.
    """

    def __init__(self, folder: Path, *, stub: bool = True) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.gate = Gate()
        self._folder, self._stub = folder, stub

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Begins to serve."""
        artist = self._painter if self._stub else None
        self.service = Service(self._folder, artist=artist)
        self.service.start()
        app = create_app(self.service, Settings(port=self.port))
        config = uvicorn.Config(
            app, host="127.0.0.1", port=self.port, log_level="error", ws="none",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        ready = threading.Event()
        started = self._server.startup

        async def startup(sockets: list[socket.socket] | None = None) -> None:
            await started(sockets)
            ready.set()

        self._server.startup = startup  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        assert ready.wait(120), "the server did not start"

    def _painter(self, model: str) -> Painter:
        return Painter(model, self.gate, self.service.inputs)

    def stop(self) -> None:
        """Ends at once; what was not drawn is drawn after the next start."""
        self._server.should_exit = True
        self._thread.join(30)
        self.service.stop(finish=False)
