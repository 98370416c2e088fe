"""The guards around the Gradio page. Building it takes seconds, so all tests share one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio
import pytest
from starlette.testclient import TestClient

from studio.webui.logins import Logins, hashed
from studio.webui.settings import Settings
from tests.studio.jobs.stub import stub_service
from tests.webui.conftest import HERE
from tests.webui.serving import application

LOGIN = ("anna", "correct horse")
LIMIT = 100_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    service = stub_service(folder)
    service.start()
    login = Logins({LOGIN[0]: hashed(LOGIN[1])})
    settings = Settings(logins=login, max_body_bytes=LIMIT)
    with TestClient(application(service, settings), HERE, raise_server_exceptions=False) as client:
        client.auth = LOGIN
        yield client
    service.stop(finish=False)


@pytest.fixture(scope="module")
def blocks(client: TestClient) -> Any:
    app: Any = client.app
    apps = [getattr(route, "app", None) for route in app.routes]
    (page,) = [app for app in apps if isinstance(app, gradio.routes.App)]
    return page.blocks


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/gradio_api/queue/status"])
def test_the_page_is_behind_the_guards(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200
    assert client.get(path, auth=("anna", "wrong horse")).status_code == 401
    assert client.get(path, headers={"Origin": "null"}).status_code == 403
    assert client.get(path, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.get(path, headers={"Host": "evil.example"}).status_code == 403


def test_the_page_serves_no_files_of_the_server(client: TestClient, folder: Path) -> None:
    for path in ("/etc/passwd", folder / "jobs.db", folder / "pictures", Path(__file__)):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_the_page_takes_no_large_uploads(client: TestClient) -> None:
    data = {"files": ("a.png", bytes(2 * LIMIT))}
    assert client.post("/gradio_api/upload", files=data).status_code == 413


def test_the_page_keeps_to_the_secure_defaults(blocks: Any) -> None:
    assert blocks.allowed_paths == []
    assert blocks.max_file_size == LIMIT
    assert blocks._queue.max_size is not None
    assert blocks.delete_cache is not None
    assert blocks.analytics_enabled is False
    assert blocks.enable_monitoring is False
    assert not blocks.share
