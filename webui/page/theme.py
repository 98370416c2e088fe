"""The looks of the page: colours, type and the style sheet. Nothing is loaded from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from gradio.themes.base import Base
from gradio.themes.utils import colors, sizes
from gradio.themes.utils.fonts import Font

_FONT = [Font(name) for name in ("system-ui", "Segoe UI", "Noto Sans", "PingFang SC", "sans-serif")]
_MONO = [Font(name) for name in ("ui-monospace", "Consolas", "Noto Sans Mono", "monospace")]

_SEA = colors.Color(
    name="sea",
    c50="#eef6f4",
    c100="#d8ebe6",
    c200="#b3d8cf",
    c300="#86bfb3",
    c400="#55a093",
    c500="#2f8276",
    c600="#22695f",
    c700="#1c554d",
    c800="#18443f",
    c900="#143834",
    c950="#0b211f",
)
_STONE = colors.Color(
    name="calm-stone",
    c50="#f8f8f6",
    c100="#f1f1ee",
    c200="#e3e3de",
    c300="#cecec7",
    c400="#9b9c95",
    c500="#63665f",
    c600="#4b4e49",
    c700="#383b38",
    c800="#26292a",
    c900="#1b1e1f",
    c950="#131516",
)


def theme() -> Base:
    """A calm theme, dark and light, in the fonts of the system."""
    base = Base(
        primary_hue=_SEA,
        secondary_hue=_SEA,
        neutral_hue=_STONE,
        spacing_size=sizes.spacing_md,
        radius_size=sizes.radius_lg,
        text_size=sizes.text_md,
        font=_FONT,
        font_mono=_MONO,
    )
    base.name = "studio"
    return base.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="#a9aca5",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="*neutral_800",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_label_background_fill="white",
        block_label_background_fill_dark="*neutral_900",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_label_text_weight="600",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_title_text_weight="600",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="#a9aca5",
        block_shadow="none",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_700",
        border_color_accent="*primary_500",
        border_color_accent_dark="*primary_400",
        input_background_fill="*neutral_50",
        input_background_fill_dark="*neutral_950",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_600",
        input_border_color_focus_dark="*primary_300",
        input_border_width="1px",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="#a9aca5",
        input_shadow="none",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_300",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_200",
        button_primary_text_color="white",
        button_primary_text_color_dark="*neutral_950",
        button_secondary_background_fill="white",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
        button_secondary_text_color="*neutral_800",
        button_secondary_text_color_dark="*neutral_100",
        button_cancel_background_fill="#fff4f2",
        button_cancel_background_fill_dark="#3a1f1c",
        button_cancel_background_fill_hover="#fde4df",
        button_cancel_background_fill_hover_dark="#52302b",
        button_cancel_border_color="#d9a79f",
        button_cancel_border_color_dark="#7c4a43",
        button_cancel_text_color="#8f2717",
        button_cancel_text_color_dark="#ffc9bf",
        button_border_width="1px",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
        checkbox_background_color_selected="*primary_600",
        checkbox_background_color_selected_dark="*primary_500",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="*neutral_500",
        checkbox_label_background_fill="*neutral_50",
        checkbox_label_background_fill_dark="*neutral_900",
        checkbox_label_background_fill_selected="*primary_100",
        checkbox_label_background_fill_selected_dark="*primary_900",
        checkbox_label_text_color_selected="*primary_800",
        checkbox_label_text_color_selected_dark="*primary_100",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        error_background_fill="#fff4f2",
        error_background_fill_dark="#3a1f1c",
        error_border_color="#d9a79f",
        error_border_color_dark="#7c4a43",
        error_text_color="#8f2717",
        error_text_color_dark="#ffc9bf",
    )


@cache
def style_sheet() -> str:
    """The page's own CSS."""
    return (files("studio.webui") / "page" / "page.css").read_text(encoding="utf-8")


@cache
def script() -> str:
    """The page's own JavaScript, as one element for the document's head."""
    source = (files("studio.webui") / "page" / "page.js").read_text(encoding="utf-8")
    return f"<script>{source}</script>"
