"""Where questions are typed and files attached, and the question that comes of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from ui.desk import Desk
from ui.gate.people import Visit
from ui.talk.attaching import weighed
from ui.talk.exchange import Exchange

_PASTE = 20_000  # characters that are pasted as they are; more become a file


def composer(elem_id: str, *, label: str, placeholder: str, autofocus: bool = False) -> gr.MultimodalTextbox:
    """A box for text; files are attached, dropped or pasted."""
    return gr.MultimodalTextbox(
        elem_id=elem_id,
        elem_classes="qc-box",
        show_label=False,
        label=label,
        container=False,
        lines=1,
        max_lines=8,
        placeholder=placeholder,
        sources=["upload"],
        file_count="multiple",
        submit_btn=True,
        autofocus=autofocus,
        max_plain_text_length=_PASTE,
    )


async def question_of(desk: Desk, typed: dict[str, Any], visit: Visit) -> Exchange | None:
    """What was typed and attached; None when that is nothing. The files are read, and gone, whatever comes of them.
    Those of somebody who may not ask are not read.

    Raises:
        InvalidRequest: a file cannot be read, or is over a limit.
        PermissionDenied, TermsNotAccepted: the gate lets them ask nothing.
    """
    text, paths = typed["text"].strip(), [Path(path) for path in typed["files"]]
    if not paths:
        return Exchange(text) if text else None
    try:
        desk.gate.greet(visit)
        weighed(paths, desk.limits, desk.text_limit)
        images, texts = await desk.reader.read(visit.person, paths, desk.limits, desk.text_limit)
    finally:
        desk.uploads.discard(visit.person, paths)
    return Exchange(text, images=images, files=texts)


def typed_again(text: str) -> dict[str, Any]:
    """The box's value when a question was not taken: its words are kept, its files are gone."""
    return {"text": text, "files": []}
