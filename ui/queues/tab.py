"""The Queues tab: one piece of HTML, drawn anew while somebody looks at it (`frame.js` presses `qc-look-queues`)."""

from __future__ import annotations

import time

import gradio as gr

from ui.desk import Desk
from ui.queues import view

_LOOKING = '<div class="qc-page"><p class="qc-wait">Looking</p></div>'


def build(desk: Desk, blocks: gr.Blocks, clock: gr.Timer) -> None:
    """Put the tab into the Blocks that are being built."""

    def look() -> str:
        return view.page(desk.board.watch, time.time(), away=desk.board.away)

    shown = gr.HTML(_LOOKING, elem_id="qc-queues", container=False, padding=False)
    button = gr.Button("Look", elem_id="qc-look-queues", visible="hidden")
    button.click(look, outputs=shown, queue=False, show_progress="hidden", api_visibility="private")
