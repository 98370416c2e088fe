"""Counts the tokens of a prompt with the model's own tokenizer, without loading the model."""

from __future__ import annotations

import html
import json
from functools import lru_cache
from pathlib import Path

import gradio as gr
from tokenizers import Tokenizer

from studio.errors import StudioError
from studio.pipelines import cards, prompt_grammar
from studio.webui.page.texts import say

_MARKS = 2  # a window begins and ends with one
_WINDOW = 77


def counted(prompt: str, model: str, request: gr.Request) -> str:
    """The count as HTML, empty for an empty prompt or one that cannot be read yet."""
    if not prompt:
        return ""
    try:
        used, room = count(prompt, model)
    except (StudioError, OSError):
        return ""
    windows = max(1, -(-used // room))
    key = "tokens" if windows == 1 else "tokens.windows"
    text = say(key, request, used=used, room=room, windows=windows)
    state = "" if windows == 1 else ' class="over"'
    return f"<span{state}>{html.escape(text)}</span>"


def count(prompt: str, model: str) -> tuple[int, int]:
    """Tokens of a prompt's first step, and how many a window of the text encoder has room for.

    Raises:
        StudioError: no such model, or a prompt outside the grammar.
        OSError: the model has no ``tokenizer.json``.
    """
    tokenizer, room = _tokenizer(cards.card(model).folder / "tokenizer")
    chunks = prompt_grammar.parse(prompt, field="prompt").at(0, 1)
    texts = [piece.text for chunk in chunks for piece in chunk]
    return sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts), room


@lru_cache(maxsize=8)
def _tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    if not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(folder / "tokenizer.json")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    longest = int(config.get("model_max_length", _WINDOW))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, min(longest, _WINDOW) - _MARKS
