"""A real server process whose pictures are painted, for tests that kill it.

``python -m tests.webui.stub_server FOLDER``: prints the port once it listens. Each line of standard
input lets so many more steps pass; ``open`` lets all pass.
"""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

from studio.webui.application import create_app
from studio.webui.observing import log_to_stderr
from studio.webui.server import Server
from studio.webui.settings import Settings
from tests.studio.jobs.stub import Gate, stub_service


class Telling(Server):
    """Prints its port."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens."""
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


def main(folder: Path) -> None:
    """Serves until it is killed or asked to end."""
    log_to_stderr("debug")
    gate, settings = Gate(shut=True), Settings(port=0)

    def obey() -> None:
        for line in sys.stdin:
            if line.strip() == "open":
                gate.open()
            else:
                gate.let(int(line))

    threading.Thread(target=obey, daemon=True).start()
    service = stub_service(folder, gate)
    server = Telling(create_app(service, settings, page=False), service, settings, warm=None)
    server.run()
    service.stop(finish=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
