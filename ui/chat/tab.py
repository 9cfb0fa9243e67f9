"""The Chat tab: components and wiring. What happens in a turn is told in `reply`, how it looks in `view`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr

from ui import wording
from ui.desk import Desk
from ui.gate.people import visit_of
from ui.talk import view
from ui.talk.exchange import Exchange, Options, restore, store
from ui.talk.reply import Frame, reply

_EXAMPLES = [
    "Explain how a queue keeps a busy kitchen calm.",
    "Write a haiku about a river that never stops.",
    "What is the difference between latency and throughput?",
    "Show me Euler's identity, and say why people find it beautiful.",
]
_GREETING = (
    "<div class='qc-hello'><h1>What shall we talk about?</h1><p>Answers stream straight from the queue.</p></div>"
)
_LATEX = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]
_TOGGLE = "() => { document.querySelector('#qc-chat').classList.toggle('open') }"
_QUIET = {"show_progress": "hidden", "api_visibility": "private"}
_AT_ONCE = {**_QUIET, "queue": False}


def build(desk: Desk, blocks: gr.Blocks, clock: gr.Timer) -> None:
    """Put the tab into the Blocks that are being built."""
    _ChatTab(desk).wire(blocks, clock)


class _ChatTab:
    """The tab's components, and the handlers that Gradio calls."""

    def __init__(self, desk: Desk):
        self._desk = desk
        # Fixed key and secret: with Gradio's random ones a restarted server would forget every conversation.
        self.kept = gr.BrowserState([], storage_key="queuechat.conversation", secret="queuechat")
        self.models = gr.State(None)
        with gr.Row(elem_id="qc-chat"):
            with gr.Column(elem_id="qc-main"):
                self._build_talk()
            with gr.Column(elem_id="qc-settings"):
                self.options = self._build_options()

    def _build_talk(self) -> None:
        self.bot = gr.Chatbot(
            elem_id="qc-bot",
            show_label=False,
            container=False,
            height="100%",
            layout="bubble",
            buttons=["copy"],
            latex_delimiters=_LATEX,
            reasoning_tags=[("<think>", "</think>")],
            feedback_options=None,
            allow_file_downloads=False,
            placeholder=_GREETING,
            examples=[{"text": text} for text in _EXAMPLES],
        )
        with gr.Column(elem_id="qc-composer"):
            self.hint = gr.HTML("", elem_id="qc-hint", container=False, padding=False)
            self.box = gr.Textbox(
                elem_id="qc-box",
                show_label=False,
                label="Message",
                container=False,
                lines=1,
                max_lines=8,
                placeholder="Ask anything",
                submit_btn=True,
                autofocus=True,
            )
            with gr.Row(elem_id="qc-tools"):
                names = self._desk.board.models
                self.model = gr.Dropdown(
                    names, value=_first(names), label="Model", show_label=False, container=False, elem_id="qc-model"
                )
                self.clear = gr.Button("Clear", elem_id="qc-clear", size="sm", variant="secondary")
                self.toggle = gr.Button("Settings", elem_id="qc-toggle", size="sm", variant="secondary")

    def _build_options(self) -> list[gr.Component]:
        gr.HTML("<h2>Settings</h2>", container=False, padding=False)
        system = gr.Textbox(label="System prompt", lines=4, max_lines=10, elem_id="qc-system", placeholder="None")
        temperature = gr.Slider(0, 2, 0.7, step=0.05, label="Temperature")
        top_p = gr.Slider(0.05, 1, 1, step=0.05, label="Top p")
        top_k = gr.Slider(0, 200, 0, step=1, label="Top k", info="0 switches it off")
        max_tokens = gr.Slider(1, 8192, 1024, step=1, label="Max tokens", elem_id="qc-max-tokens")
        seed = gr.Textbox(label="Seed", placeholder="A new one each time", elem_id="qc-seed")
        stop = gr.Textbox(label="Stop strings", lines=1, max_lines=4, info="One a line", elem_id="qc-stop-strings")
        return [system, temperature, top_p, top_k, max_tokens, seed, stop]

    def wire(self, blocks: gr.Blocks, clock: gr.Timer) -> None:
        """Every event of the tab."""
        asked = [self.kept, self.model, *self.options]
        shown = [self.box, self.bot, self.kept]
        # "multiple": the default would drop what is sent in the moment between an answer's end and its event's.
        turn = {**_QUIET, "trigger_mode": "multiple"}
        self.box.submit(self.ask, [self.box, *asked], shown, **turn)
        self.bot.example_select(self.ask_example, asked, shown, **turn)
        self.bot.retry(self.retry, asked, shown, **turn)
        self.box.stop(self.stop, **_AT_ONCE)
        gr.on([self.clear.click, self.bot.clear], self.forget, None, [self.bot, self.kept], **_AT_ONCE)
        self.toggle.click(None, js=_TOGGLE, api_visibility="private")
        gr.on(
            [clock.tick, blocks.load],
            self.refresh,
            [self.model, self.models],
            [self.model, self.models, self.hint],
            **_AT_ONCE,
        )
        blocks.load(self.restore, self.kept, self.bot, **_AT_ONCE)

    # -- handlers --------------------------------------------------------------------------------------------------

    async def ask(
        self, request: gr.Request, text: str, kept: Any, model: str | None, *options: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        """What was typed, and its answer."""
        if not text.strip():
            yield {self.box: gr.skip()}
            return
        async for update in self._turn([*restore(kept), Exchange(text.strip())], model, options, request):
            yield update

    async def ask_example(
        self, request: gr.Request, picked: gr.SelectData, kept: Any, model: str | None, *options: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        async for update in self._turn([*restore(kept), Exchange(picked.value["text"])], model, options, request):
            yield update

    async def retry(
        self, request: gr.Request, kept: Any, model: str | None, *options: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        """The last question again."""
        conversation = restore(kept)
        if not conversation:
            yield {self.box: gr.skip()}
            return
        async for update in self._turn(conversation, model, options, request):
            yield update

    async def _turn(
        self, conversation: list[Exchange], model: str | None, controls: tuple[Any, ...], request: gr.Request
    ) -> AsyncIterator[dict[Any, Any]]:
        page, before = request.session_hash, conversation[:-1]
        if self._desk.turns.busy(page):
            yield {self.box: gr.skip()}
            return
        with self._desk.turns.begin(page) as stop:
            asked = reply(self._desk, conversation, options_of(model, *controls), stop, visit_of(request))
            async with aclosing(asked) as frames:
                frame = await anext(frames)
                yield {
                    self.box: gr.update(value="", submit_btn=False, stop_btn=True),
                    self.kept: store([*before, frame.exchange]),
                    **self._shown(before, frame),
                }
                while not frame.settled:
                    yield self._shown(before, frame)
                    frame = await anext(frames)
        yield {
            self.box: gr.update(submit_btn=True, stop_btn=False),
            self.kept: store([*before, frame.exchange]),
            **self._shown(before, frame),
        }

    def _shown(self, before: list[Exchange], frame: Frame) -> dict[Any, Any]:
        return {self.bot: view.messages([*before, frame.exchange], pending=frame.pending, live=frame.live)}

    def stop(self, request: gr.Request) -> None:
        self._desk.turns.stop(request.session_hash)

    def forget(self, request: gr.Request) -> tuple[list[Any], list[Any]]:
        """Clear the conversation, and stop what is being added to it."""
        self._desk.turns.stop(request.session_hash)
        return [], []

    def restore(self, kept: Any) -> list[view.Message]:
        return view.messages(restore(kept))

    def refresh(self, request: gr.Request, chosen: str | None, known: list[str] | None) -> tuple[Any, Any, Any]:
        """The model list follows the live workers; a page is only touched when something has changed."""
        names = self._desk.board.models
        if known == names:
            return gr.skip(), gr.skip(), gr.skip()
        if known is None and (asked := request.query_params.get("model")):  # the page was opened with ?model=…
            chosen = self._desk.board.named(asked)
        choice = chosen if chosen in names else _first(names)
        return gr.update(choices=names, value=choice), names, view.hint("" if names else wording.NO_MODEL)


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


def _first(names: list[str]) -> str | None:
    return names[0] if names else None
