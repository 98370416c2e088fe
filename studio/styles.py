"""Styles: words that are added to prompts by a name. They are data, in ``configs/styles.yaml``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

PLACE = "{prompt}"
"""Where a style's text holds the prompt; without it the text is added after a comma."""


@dataclass(frozen=True)
class Style:
    """What a style adds.

    Args:
        prompt: text around, or after, the prompt.
        negative_prompt: likewise.
    """

    prompt: str = ""
    negative_prompt: str = ""


@cache
def styles() -> Mapping[str, Style]:
    """All styles by name, in the order of the file."""
    text = (files("studio.configs") / "styles.yaml").read_text(encoding="utf-8")
    return {name: Style(**fields) for name, fields in yaml.safe_load(text).items()}


def styled(prompt: str, negative_prompt: str, names: Iterable[str]) -> tuple[str, str]:
    """A prompt and a negative prompt with the styles of these names put in, in order."""
    for name in names:
        style = styles()[name]
        prompt = _with(prompt, style.prompt)
        negative_prompt = _with(negative_prompt, style.negative_prompt)
    return prompt, negative_prompt


def _with(text: str, style: str) -> str:
    if PLACE in style:
        return style.replace(PLACE, text)
    return ", ".join(part for part in (text, style) if part)
