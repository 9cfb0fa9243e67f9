"""The About tab: text, and a table of the models that is drawn anew while somebody looks at it."""

from __future__ import annotations

import gradio as gr

from ui.about import view
from ui.desk import Desk

_LOOKING = '<div class="qc-page"><p class="qc-wait">Looking</p></div>'


def build(desk: Desk, blocks: gr.Blocks, clock: gr.Timer) -> None:
    """Put the tab into the Blocks that are being built."""

    def look(request: gr.Request) -> str:
        host = request.headers.get("host", "")
        api = view.api_beside(host, desk.api_port)
        return view.page(desk.roster.census, api, record_chats=desk.record_chats)

    shown = gr.HTML(_LOOKING, elem_id="qc-about", container=False, padding=False)
    button = gr.Button("Look", elem_id="qc-look-about", visible="hidden")
    button.click(look, outputs=shown, queue=False, show_progress="hidden", api_visibility="private")
