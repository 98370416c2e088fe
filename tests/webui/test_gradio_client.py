"""``gradio_client`` draws through the page's one named endpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from studio.metadata import read_recipe
from tests.studio.jobs.stub import stub_service
from tests.webui.serving import serving

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_a_prompt_comes_back_as_files_with_their_recipes(tmp_path: Path) -> None:
    with serving(stub_service(tmp_path / "jobs"), page=True) as port:
        client = Client(f"http://127.0.0.1:{port}", download_files=tmp_path / "down", verbose=False)
        fields = {"seed": 5, "count": 2, "steps": 2}
        files = client.predict("a harbour", fields, api_name="/generate")
        assert [read_recipe(file).request.seed for file in files] == [5, 6]
        assert {read_recipe(file).request.prompt for file in files} == {"a harbour"}
        with pytest.raises(AppError, match=r"steps = 0: out of range. Valid: .* 1 to 1000"):
            client.predict("a harbour", {"steps": 0}, api_name="/generate")
        with pytest.raises(AppError, match="init_image"):
            client.predict("a harbour", {"init_image": "/etc/passwd"}, api_name="/generate")
