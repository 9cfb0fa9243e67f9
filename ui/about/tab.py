"""The About tab."""

from __future__ import annotations
import gradio as gr
from ui.desk import Desk


def build(desk: Desk, blocks: gr.Blocks, clock: gr.Timer) -> None:
    gr.HTML("<h1>About</h1>")
