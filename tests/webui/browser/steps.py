"""What a visitor does, in words that several tests use."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

TABS = (
    "text_to_image", "image_to_image", "inpaint", "outpaint", "upscale", "picture_info", "grid",
    "prompt_file", "history", "models",
)  # fmt: skip


def go_to(page: Page, tab: str) -> Locator:
    """Opens a tab and returns what it holds."""
    page.locator(f"#tab-{tab}-button").click()
    room = page.locator(f"#tab-{tab}")
    expect(room).to_be_visible()
    return room


def draw(page: Page, prompt: str, tab: str = "text_to_image") -> Locator:
    """Writes a prompt, presses the button and returns the tab."""
    room = page.locator(f"#tab-{tab}")
    room.locator(".field-prompt textarea").fill(prompt)
    room.locator("button.go").click()
    return room


def prompt_of(room: Locator) -> Locator:
    """The field of the prompt."""
    return room.locator(".field-prompt textarea")
