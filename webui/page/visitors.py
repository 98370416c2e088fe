"""Who is looking at the page."""

from __future__ import annotations

import gradio as gr


def owner(request: gr.Request | None) -> str:
    """Whose jobs a visitor sees: the name they logged in with, empty without a login."""
    return str(getattr(request, "username", None) or "")
