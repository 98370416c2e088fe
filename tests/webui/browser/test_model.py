"""The whole way once: from words in the browser to a picture of the model in the box."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from studio.metadata import pixel_sha256, read_recipe
from studio.picture_files import read_pixels
from tests.webui.browser.conftest import Open
from tests.webui.browser.serving import Server
from tests.webui.browser.steps import draw


@pytest.mark.slow
def test_the_model_in_the_box_draws(open_page: Open, tmp_path: Path) -> None:
    server = Server(tmp_path, stub=False)
    server.start()
    try:
        page = open_page(server.url)
        steps = page.locator("#tab-text_to_image .field-steps input[type=number]")
        steps.fill("4")
        steps.press("Tab")
        room = draw(page, "a red apple")
        expect(room.locator(".status")).to_contain_text("Done in")
        expect(room.locator(".results img").first).to_be_visible()
        (picture,) = server.service.jobs()[0].pictures
        assert read_recipe(picture).pixel_sha256 == pixel_sha256(read_pixels(picture))
        page.close()
    finally:
        server.stop()
