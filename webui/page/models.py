"""The tab that lists the installed models."""

from __future__ import annotations

import html
from collections.abc import Iterable

import gradio as gr

from studio.pipelines import cards
from studio.pipelines.cards import ModelCard
from studio.webui.page.texts import label, say

_COLUMNS = ("name", "family", "licence", "memory", "size", "description")


def build() -> gr.HTML:
    """Adds the tab; the list it returns is filled when the page opens."""
    with gr.Tab(label("tab.models"), id="models", elem_id="tab-models"):
        gr.Markdown(label("models.hint"), elem_classes=["hint"])
        return gr.HTML("", elem_classes=["sheet"])


def table(models: Iterable[ModelCard], request: gr.Request | None) -> str:
    """The models as an HTML table."""
    heads = "".join(
        f'<th scope="col">{html.escape(say(f"models.{name}", request))}</th>' for name in _COLUMNS
    )
    rows = "".join(f"<tr>{_cells(card, request)}</tr>" for card in models)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _cells(card: ModelCard, request: gr.Request | None) -> str:
    size = f"{card.defaults.width} × {card.defaults.height}"
    unknown = say("models.unknown", request)
    values = (
        card.name, card.family, card.licence or unknown, weights_size(card) or unknown, size,
        card.description,
    )  # fmt: skip
    name, *rest = (html.escape(value) for value in values)
    return f'<th scope="row">{name}</th>' + "".join(f"<td>{value}</td>" for value in rest)


def weights_size(card: ModelCard) -> str:
    """What the weights of a model take, on the disk and about as much in memory."""
    total = cards.weights_size(card.path)
    if not total:
        return ""
    return f"{total / 1e9:.3g} GB" if total >= 1e9 else f"{total / 1e6:.3g} MB"
