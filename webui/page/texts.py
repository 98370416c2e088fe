"""The words of the page. Fixed ones are put in by the browser, in its own language.

What the server says while it works (progress, problems) is in the first language of the
``Accept-Language`` header that the page knows.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import gradio as gr
import yaml
from gradio.i18n import I18nData

LANGUAGES = ("en", "zh")
"""Languages that the page speaks; the first is what others get."""

_NAMES_IN_BROWSERS = {"zh": ("zh", "zh-CN", "zh-TW", "zh-HK", "zh-SG")}


@cache
def words(language: str) -> dict[str, str]:
    """All words in one of :data:`LANGUAGES`, by their keys."""
    text = (files("studio.webui") / "text" / f"{language}.yaml").read_text(encoding="utf-8")
    return {key: value.strip() for key, value in yaml.safe_load(text).items()}


def translations() -> gr.I18n:
    """The words for the browser, under every name that browsers have for a language."""
    return gr.I18n(
        **{
            name: words(language)
            for language in LANGUAGES
            for name in _NAMES_IN_BROWSERS.get(language, (language,))
        }
    )


def label(key: str) -> I18nData:
    """A word that the browser shows in its own language.

    Raises:
        KeyError: there is no such word.
    """
    words(LANGUAGES[0])[key]
    return I18nData(key)


def language_of(request: gr.Request | None) -> str:
    """The first language of the visitor's browser that the page speaks."""
    header = request.headers.get("accept-language", "") if request is not None else ""
    for part in header.split(","):
        language = part.split(";")[0].strip().lower().partition("-")[0]
        if language in LANGUAGES:
            return language
    return LANGUAGES[0]


def say(key: str, request: gr.Request | None, **values: object) -> str:
    """A word in the visitor's language, with values filled in."""
    return words(language_of(request))[key].format(**values)


def duration(seconds: float, request: gr.Request | None) -> str:
    """A length of time for people, such as "2 min 5 s"."""
    whole = max(0, round(seconds))
    if whole < 60:
        shown = f"{seconds:.1f}" if seconds < 10 else str(whole)
        return say("time.seconds", request, n=shown)
    return say("time.minutes", request, m=whole // 60, n=whole % 60)
