"""The page for every eye and hand: contrast, labels, keys, small screens, other languages.

Where ``STUDIO_PICTURES`` is set, mini draws and the pictures of ``docs/pictures`` are taken anew.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from PIL import Image
from playwright.sync_api import Page, expect

from tests.webui.browser.conftest import Open
from tests.webui.browser.steps import TABS, draw, go_to

_PICTURES = Path(__file__).parents[3] / "docs" / "pictures"
_TAKEN = {"page-text-to-image-light", "page-inpaint-dark", "page-history-dark", "page-phone"}
_STILL = """Promise.all(document.getAnimations()
    .filter(animation => animation.effect.getComputedTiming().endTime !== Infinity)
    .map(animation => animation.finished.catch(() => null)))"""
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_passes_axe(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    room = draw(page, "a sailboat, (3d render:1.2)")
    expect(room.locator(".results img").first).to_be_visible()
    found = []
    for tab in TABS:
        shown = go_to(page, tab)
        if tab == "history":
            expect(shown.locator(".thumbs img[alt='']").first).to_be_visible()
            shown.locator(".thumbs button").first.click()
            expect(shown.locator("button.delete")).to_be_visible()
        page.wait_for_load_state("networkidle")
        page.evaluate(_STILL)  # what fades in has too little contrast on the way
        result = Axe().run(page, options={"runOnly": {"type": "tag", "values": _RULES}})
        assert len(result.response["passes"]) > 10, "the rules were applied"
        for fault in result.response["violations"]:
            found += [(tab, fault["id"], node["html"][:120]) for node in fault["nodes"]]
        _take(page, f"page-{tab.replace('_', '-')}-{scheme}")
    assert found == []


@pytest.mark.parametrize("width", [390, 1920])
def test_nothing_is_cut_off(open_page: Open, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 844})
    for tab in TABS:
        go_to(page, tab)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, tab
    if width == 390:
        go_to(page, "text_to_image")
        _take(page, "page-phone")
        button, job, settings = (
            page.locator(f"#tab-text_to_image {place}").bounding_box()
            for place in ("button.go", ".job", ".settings")
        )
        assert button is not None
        assert job is not None
        assert settings is not None
        assert button["y"] < job["y"] < settings["y"], "the picture comes before the settings"
        assert button["height"] >= 44


def test_chinese_by_the_browsers_language(open_page: Open) -> None:
    page = open_page(locale="zh-CN")
    expect(page.locator("#tab-text_to_image button.go")).to_have_text("绘制")
    room = draw(page, "一只猫")
    expect(room.locator(".status")).to_contain_text("完成")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"


def test_the_keyboard_is_enough(open_page: Open) -> None:
    page = open_page()
    page.locator("#tab-text_to_image .field-prompt textarea").focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    expect(page.locator("#tab-text_to_image button.go")).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(outline.removesuffix("px")) >= 2, "one sees where one is"


def test_light_and_dark_by_choice(open_page: Open) -> None:
    page = open_page(color_scheme="light")
    page.locator("button.look").click()
    expect(page.locator("body.dark")).to_have_count(1)
    page.reload()
    expect(page.locator("body.dark")).to_have_count(1)
    page.locator("button.look").click()
    expect(page.locator("body.dark")).to_have_count(0)


def _take(page: Page, name: str) -> None:
    if name not in _TAKEN or not os.environ.get("STUDIO_PICTURES"):
        return
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(192).save(_PICTURES / f"{name}.png", optimize=True)
