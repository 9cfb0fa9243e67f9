"""What people see and press in the Chat tab, and what their settings mean."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from ui.talk import view
from ui.talk.exchange import Options

_EXAMPLES = [
    "Explain how a queue keeps a busy kitchen calm.",
    "Write a haiku about a river that never stops.",
    "What is the difference between latency and throughput?",
    "Show me Euler's identity, and say why people find it beautiful.",
]
_GREETING = (
    "<div class='qc-hello'><h1>What shall we talk about?</h1><p>Answers stream straight from the queue.</p></div>"
)


def chatbot(*, votes: bool) -> gr.Chatbot:
    """The conversation. Thoughts are told apart by ourselves, so it looks for no tags."""
    return gr.Chatbot(
        elem_id="qc-bot",
        show_label=False,
        container=False,
        height="100%",
        layout="bubble",
        buttons=["copy"],
        editable="user",
        latex_delimiters=view.LATEX,
        feedback_options=("Like", "Dislike", "Flag") if votes else None,
        allow_file_downloads=False,
        placeholder=_GREETING,
        examples=[{"text": text} for text in _EXAMPLES],
    )


def settings() -> list[gr.Component]:
    """The column of settings; `options_of` takes their values."""
    gr.HTML("<h2>Settings</h2>", container=False, padding=False)
    system = gr.Textbox(label="System prompt", lines=4, max_lines=10, elem_id="qc-system", placeholder="None")
    temperature = gr.Slider(0, 2, 0.7, step=0.05, label="Temperature")
    top_p = gr.Slider(0.05, 1, 1, step=0.05, label="Top p")
    top_k = gr.Slider(0, 200, 0, step=1, label="Top k", info="0 switches it off")
    max_tokens = gr.Slider(1, 8192, 1024, step=1, label="Max tokens", elem_id="qc-max-tokens")
    seed = gr.Textbox(label="Seed", placeholder="A new one each time", elem_id="qc-seed")
    stop = gr.Textbox(label="Stop strings", lines=1, max_lines=4, info="One a line", elem_id="qc-stop-strings")
    return [system, temperature, top_p, top_k, max_tokens, seed, stop]


def options_of(
    model: str | None,
    system: str | None,
    temperature: float,
    top_p: float,
    top_k: float,
    max_tokens: float | None,
    seed: str | None,
    stop: str | None,
) -> Options:
    """The controls' values as the turn wants them."""
    return Options(
        model=model or "",
        system=system or "",
        temperature=float(temperature),
        top_p=float(top_p),
        top_k=int(top_k),
        max_tokens=int(max_tokens) if max_tokens else None,
        seed=int(seed) if seed and seed.strip().isdecimal() else None,
        stop=stop or "",
    )


def choices_of(names: Sequence[str], seers: Sequence[str]) -> list[tuple[str, str]]:
    """Models as the list offers them: who takes images says so."""
    return [(f"{name} · sees images" if name in seers else name, name) for name in names]
