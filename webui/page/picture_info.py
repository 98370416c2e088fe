"""The tab that reads the recipe of a picture, whichever tool drew it. It is shown as text only."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import gradio as gr

from studio.errors import PictureError
from studio.importing import Imported, read_any
from studio.webui.page.form import QUIET, problem
from studio.webui.page.texts import label, say, words


class PictureInfo:
    """The tab. :attr:`use` is pressed to take the recipe over; :attr:`fields` then holds it."""

    def __init__(self) -> None:
        with (
            gr.Tab(label("tab.picture_info"), id="picture_info", elem_id="tab-picture_info"),
            gr.Row(elem_classes=["desk", "two"]),
        ):
            with gr.Column(elem_classes=["ask"], min_width=0):
                gr.Markdown(label("info_tab.hint"), elem_classes=["hint"])
                file = gr.File(
                    label=label("info_tab.drop"), type="filepath", height=180,
                    file_types=[".png", ".jpg", ".jpeg", ".webp"], elem_classes=["drop"],
                )  # fmt: skip
                self._picture = gr.Image(
                    label=label("info_tab.preview"), interactive=False, visible=False,
                    type="filepath", buttons=["fullscreen"], height=320,
                )  # fmt: skip
            with gr.Column(elem_classes=["job"], min_width=0):
                gr.Markdown(label("info_tab.idle"), elem_classes=["idle"])
                self._found = gr.HTML("", elem_classes=["sheet", "found-recipe"])
                self.use = gr.Button(
                    label("button.use"), variant="primary", visible=False, elem_classes=["use"]
                )
                self._text = gr.Textbox(
                    label=label("info_tab.text"), lines=6, max_lines=24, interactive=False,
                    visible=False, buttons=["copy"], elem_classes=["recipe"],
                )  # fmt: skip
            self.fields = gr.Textbox("{}", visible=False)
        shown = [self._picture, self._found, self.use, self._text, self.fields]
        file.change(_read, file, shown, **QUIET)


def taken(fields: str) -> dict[str, object]:
    """The fields of a request out of what :attr:`PictureInfo.fields` holds."""
    found = json.loads(fields)
    return found if isinstance(found, dict) else {}


def _read(path: str | None, request: gr.Request) -> list[Any]:
    hidden = gr.update(visible=False)
    if not path:
        return [gr.update(value=None, visible=False), "", hidden, hidden, "{}"]
    try:
        found = read_any(path)
    except PictureError as error:
        told = PictureError(error.what.replace(path, Path(path).name), valid=error.valid)
        return [gr.update(value=None, visible=False), problem(told), hidden, hidden, "{}"]
    return [
        gr.update(value=path, visible=True),
        _shown(found, request),
        gr.update(visible=True),
        gr.update(value=found.text, visible=True),
        json.dumps(dict(found.fields)),
    ]


def _shown(found: Imported, request: gr.Request) -> str:
    source = html.escape(say("info_tab.source", request, source=found.source))
    rows = "".join(
        f'<tr><th scope="row">{html.escape(_name(name, request))}</th>'
        f'<td class="value">{html.escape(str(value))}</td></tr>'
        for name, value in found.fields.items()
    )
    if found.notes:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in found.notes)
        lost = f"<h3>{html.escape(say('info_tab.lost', request))}</h3><ul>{notes}</ul>"
    else:
        lost = f"<p>{html.escape(say('info_tab.nothing_lost', request))}</p>"
    return f'<h2 role="status">{source}</h2><table><tbody>{rows}</tbody></table>{lost}'


def _name(field: str, request: gr.Request) -> str:
    key = f"field.{field}"
    return say(key, request) if key in words("en") else field
