"""The conversations that a browser keeps. They lie in the browser alone (shelf.js); a page shows one of them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import gradio as gr

from ui.talk import export
from ui.talk.exchange import Exchange, restore, store

_KEPT = 200  #: conversations
_SIZE = 64 << 20  #: characters of all, pictures included

ARRIVE = "async () => [await window.queuechatShelf.arrive()]"
BEGIN = "() => { window.queuechatShelf.go(null) }"
ADOPT = "(old) => { window.queuechatOld = old; window.queuechatShelf?.adopt(old) }"


def build_shelf() -> gr.HTML:
    """The list at the side. Its value is the conversation that the page shows; whatever it becomes is kept."""

    return gr.HTML(
        {"id": "", "exchanges": []},
        elem_id="qc-shelf",
        html_template='<nav class="qc-shelf" aria-label="Conversations"></nav>',
        js_on_load=files("ui.chat").joinpath("shelf.js").read_text(),
        apply_default_css=False,
        container=False,
        padding=False,
        server_functions=[as_markdown, as_json],
        keep_count=_KEPT,
        keep_size=_SIZE,
    )


def conversation_of(kept: Any) -> list[Exchange]:
    """What a browser has sent of the conversation that it shows."""
    return restore(kept.get("exchanges")) if isinstance(kept, dict) else []


def as_markdown(kept: Any) -> str:
    """Called by the page."""
    return export.as_markdown(conversation_of(kept))


def as_json(kept: Any) -> str:
    """Called by the page."""
    return export.as_json(conversation_of(kept))


def name_of(kept: Any) -> str:
    """The conversation's own name, "" where the browser gives none that can be one."""
    name = kept.get("id") if isinstance(kept, dict) else None
    return name if isinstance(name, str) and name.isalnum() and len(name) <= 64 else ""


def kept_as(name: str, conversation: Sequence[Exchange]) -> dict[str, Any]:
    """The shelf's value."""
    return {"id": name, "exchanges": store(conversation)}
