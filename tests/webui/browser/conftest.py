"""One server and one browser for all tests of the page; a fresh window for each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.webui.browser.serving import Server

_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_PATIENCE_MS = 90_000

Open = Callable[..., "Page"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            # Gradio and the browser's driver leave sockets to the garbage collector.
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Chromium: the one that CHROMIUM names, or the system's."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on this machine; CHROMIUM may name one")
    playwright.expect.set_options(timeout=_PATIENCE_MS)
    with playwright.sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=path, args=_FLAGS)
        yield window
        window.close()


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all tests share."""
    from tests.webui.browser.serving import Server

    # Pictures for the docs show what the studio draws.
    stub = not os.environ.get("STUDIO_PICTURES")
    server = Server(tmp_path_factory.mktemp("service"), stub=stub)
    server.start()
    yield server
    server.gate.open()
    server.stop()


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """The server, drawing freely; nothing waits at the end."""
    running.gate.open()
    yield running
    for status in ("running", "queued"):
        for job in running.service.jobs(status=status):
            running.service.cancel(job.id)
    running.gate.open()


@pytest.fixture
def open_page(chromium: Browser, server: Server) -> Iterator[Open]:
    """Opens the page in a window of its own; it must load nothing from elsewhere, nor fail."""
    contexts, faults, outside = [], [], []

    def opened(address: str | None = None, **options: Any) -> Page:
        options = {"viewport": {"width": 1440, "height": 900}, "locale": "en-US"} | options
        context = chromium.new_context(**options)
        context.set_default_timeout(_PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: outside.append(request.url))
        page.goto(address or server.url)
        page.locator("button.go:visible").wait_for()
        page.wait_for_load_state("networkidle")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []
    local = ("http://127.0.0.1:", "data:", "blob:")
    assert [url for url in outside if not url.startswith(local)] == []
