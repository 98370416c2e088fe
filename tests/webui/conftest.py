"""A server without a network: the application called in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from studio.webui.application import create_app
from studio.webui.settings import Settings
from tests.studio.jobs.stub import Gate, stub_service

Connect = Callable[..., TestClient]
HERE = "http://127.0.0.1:7860"


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Makes a client of a new server of the given settings; pictures are painted at once."""
    with ExitStack() as stack:

        def make(
            settings: Settings | None = None,
            gate: Gate | None = None,
            *,
            queue_size: int = 100,
            page: bool = False,
            start: bool = True,
        ) -> TestClient:
            service = stub_service(tmp_path, gate, queue_size=queue_size)
            if start:
                service.start()
            stack.callback(service.stop, finish=False)
            app = create_app(service, settings or Settings(), page=page)
            client = TestClient(app, HERE, raise_server_exceptions=False)
            return stack.enter_context(client)

        yield make
