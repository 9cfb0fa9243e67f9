"""The corner of the header that says who is logged in, with the way out."""

from __future__ import annotations

import html

import gradio as gr

from ui.gate.people import visit_of


def build(blocks: gr.Blocks) -> None:
    """Put the corner into the header that is being built; it is filled when a page opens."""
    corner = gr.HTML("", elem_id="qc-login", container=False, padding=False)
    blocks.load(_shown, outputs=corner, queue=False, show_progress="hidden", api_visibility="private")


def _shown(request: gr.Request) -> str:
    name = html.escape(visit_of(request).name, quote=True)
    out = f'<b title="{name}">{name}</b><button>Log out</button>'
    return f'<form class="qc-login" method="post" action="logout">{out}</form>' if name else ""
