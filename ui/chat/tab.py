"""The Chat tab: its wiring and handlers. What happens in a turn is told in `reply`, how it looks in `view`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import gradio as gr

from queuechat.battles import Event
from queuechat.errors import QueuechatError
from ui import wording
from ui.chat import controls, recording, shelf
from ui.desk import Desk
from ui.gate.people import person_of, visit_of
from ui.talk import view
from ui.talk.composer import composer, question_of, typed_again
from ui.talk.exchange import Exchange
from ui.talk.reply import Frame, reply

_LEAVE_S = 4.0  # for an answer to end when somebody goes to another conversation
_QUIET = {"show_progress": "hidden", "api_visibility": "private"}
_AT_ONCE = {**_QUIET, "queue": False}


def build(desk: Desk, blocks: gr.Blocks, clock: gr.Timer) -> None:
    """Put the tab into the Blocks that are being built."""
    _ChatTab(desk).wire(blocks, clock)


class _ChatTab:
    """The tab's components, and the handlers that Gradio calls."""

    def __init__(self, desk: Desk):
        self._desk = desk
        self.models = gr.State(None)
        # What pages kept before they kept more than one conversation.
        self.old = gr.BrowserState([], storage_key="queuechat.conversation", secret="queuechat")
        with gr.Row(elem_id="qc-chat"):
            self.shelf = shelf.build_shelf()
            with gr.Column(elem_id="qc-main"):
                self._build_talk()
            with gr.Column(elem_id="qc-settings"):
                self.options = controls.settings()

    def _build_talk(self) -> None:
        self.bot = controls.chatbot(votes=self._desk.record_chats)
        with gr.Column(elem_id="qc-composer"):
            self.hint = gr.HTML("", elem_id="qc-hint", container=False, padding=False)
            self.box = composer("qc-box", label="Message", placeholder="Ask anything", autofocus=True)
            with gr.Row(elem_id="qc-tools"):
                board = self._desk.board
                choices = controls.choices_of(board.models, board.seers)
                self.model = gr.Dropdown(
                    choices, value=None, label="Model", show_label=False, container=False, elem_id="qc-model"
                )
                self.history = gr.Button("History", elem_id="qc-history", size="sm", variant="secondary")
                self.new = gr.Button("New chat", elem_id="qc-new", size="sm", variant="secondary")
                self.toggle = gr.Button("Settings", elem_id="qc-toggle", size="sm", variant="secondary")

    def wire(self, blocks: gr.Blocks, clock: gr.Timer) -> None:
        """Every event of the tab."""
        self._wire_turns()
        self._wire_shelf(blocks)
        self.toggle.click(None, js=_flip("open"), api_visibility="private")
        self.history.click(None, js=_flip("flip"), api_visibility="private")
        gr.on(
            [clock.tick, blocks.load],
            self.refresh,
            [self.model, self.models],
            [self.model, self.models, self.hint],
            **_AT_ONCE,
        )

    def _wire_turns(self) -> None:
        asked = [self.shelf, self.model, *self.options]
        shown = [self.box, self.bot, self.shelf, self.hint]
        # "multiple": the default would drop what is sent in the moment between an answer's end and its event's.
        turn = {**_QUIET, "trigger_mode": "multiple"}
        self.box.submit(self.ask, [self.box, *asked], shown, **turn)
        self.bot.example_select(self.ask_example, asked, shown, **turn)
        self.bot.retry(self.retry, asked, shown, **turn)
        self.bot.edit(self.edit, asked, shown, **turn)
        self.box.stop(self.stop, **_AT_ONCE)
        if self._desk.record_chats:
            self.bot.like(self.judge, self.shelf, self.hint, **_AT_ONCE)

    def _wire_shelf(self, blocks: gr.Blocks) -> None:
        gr.on([self.new.click, self.bot.clear], None, js=shelf.BEGIN, api_visibility="private")
        blocks.load(None, self.old, None, js=shelf.ADOPT, api_visibility="private")
        self.shelf.arrived(self.show, self.shelf, self.bot, **_AT_ONCE)
        self.shelf.leave(self.leave, None, self.hint, **_AT_ONCE).then(
            self.show, self.shelf, self.bot, js=shelf.ARRIVE, **_AT_ONCE
        )

    # -- handlers --------------------------------------------------------------------------------------------------

    async def ask(
        self, request: gr.Request, typed: dict[str, Any], kept: Any, model: str | None, *options: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        """What was typed and attached, and its answer."""
        if self._desk.turns.busy(request.session_hash):
            yield {self.box: gr.skip()}
            return
        try:
            asked = await question_of(self._desk, typed, visit_of(request))
        except QueuechatError as error:
            told = view.hint(wording.notice_of(error, model or ""))
            yield {self.box: gr.update(value=typed_again(typed["text"])), self.hint: told}
            return
        if asked is None:
            yield {self.box: gr.skip()}
            return
        async for update in self._turn(kept, [*shelf.conversation_of(kept), asked], model, options, request):
            yield update

    async def ask_example(
        self, request: gr.Request, picked: gr.SelectData, kept: Any, model: str | None, *options: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        asked = Exchange(picked.value["text"])
        async for update in self._turn(kept, [*shelf.conversation_of(kept), asked], model, options, request):
            yield update

    async def retry(
        self, request: gr.Request, kept: Any, model: str | None, *options: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        """The last question again."""
        async for update in self._turn(kept, shelf.conversation_of(kept), model, options, request):
            yield update

    async def edit(
        self, request: gr.Request, edited: gr.EditData, kept: Any, model: str | None, *options: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        """A question in other words; what came after it is left behind."""
        conversation = shelf.conversation_of(kept)
        place, text = view.place_of(conversation, edited.index, question=True), view.typed(str(edited.value)).strip()
        if place is None or not text:
            yield {self.bot: view.messages(conversation)}
            return
        asked = replace(conversation[place], question=text)
        async for update in self._turn(kept, [*conversation[:place], asked], model, options, request):
            yield update

    async def _turn(
        self, kept: Any, conversation: list[Exchange], model: str | None, settings: tuple[Any, ...], request: gr.Request
    ) -> AsyncIterator[dict[Any, Any]]:
        page, before, name = request.session_hash, conversation[:-1], shelf.name_of(kept)
        if not conversation or self._desk.turns.busy(page):
            yield {self.box: gr.skip()}
            return
        began = time.time()
        with self._desk.turns.begin(page) as stop:
            options = controls.options_of(model, *settings)
            async with aclosing(reply(self._desk, conversation, options, stop, visit_of(request))) as frames:
                frame = await anext(frames)
                yield {
                    self.box: gr.update(value=typed_again(""), submit_btn=False, stop_btn=True),
                    self.shelf: shelf.kept_as(name, [*before, frame.exchange]),
                    self.hint: "",
                    self.bot: gr.update(value=self._drawn(before, frame), elem_classes=["busy"]),
                }
                while not frame.settled:
                    yield {self.bot: self._drawn(before, frame)}
                    frame = await anext(frames)
            # Who goes to another conversation waits for the end of this `with`, and so for these to be kept.
            yield {
                self.shelf: shelf.kept_as(name, [*before, frame.exchange]),
                self.bot: gr.update(value=self._drawn(before, frame), elem_classes=[]),
            }
        yield {self.box: gr.update(submit_btn=True, stop_btn=False)}
        if self._desk.record_chats:
            talk = recording.Talk(name, [*before, frame.exchange], person_of(request))
            await recording.answered(self._desk.client.bus, talk, options, began)

    def _drawn(self, before: list[Exchange], frame: Frame) -> list[view.Message]:
        return view.messages([*before, frame.exchange], pending=frame.pending, live=frame.live)

    def stop(self, request: gr.Request) -> None:
        self._desk.turns.stop(request.session_hash)

    async def judge(self, request: gr.Request, liked: gr.LikeData, kept: Any) -> str:
        """A vote on an answer, or a flag."""
        conversation = shelf.conversation_of(kept)
        place = view.place_of(conversation, liked.index)
        if place is None or not conversation[place].answer or liked.liked == "":
            return ""
        try:
            await self._desk.gate.hear(visit_of(request))
        except QueuechatError as error:
            return view.hint(wording.notice_of(error, ""))
        event = {True: Event.UPVOTE, False: Event.DOWNVOTE}.get(liked.liked, Event.FLAG)
        talk = recording.Talk(shelf.name_of(kept), conversation[: place + 1], person_of(request))
        recorded = await recording.judged(self._desk.client.bus, talk, event)
        return view.hint("" if recorded else wording.NOT_RECORDED)

    async def leave(self, request: gr.Request) -> str:
        """End what is being written: another conversation is about to be shown."""
        await self._desk.turns.ended(request.session_hash, _LEAVE_S)
        return ""

    def show(self, kept: Any) -> list[view.Message]:
        return view.messages(shelf.conversation_of(kept))

    def refresh(self, request: gr.Request, chosen: str | None, known: Any) -> tuple[Any, Any, Any]:
        """The model list follows the live workers; a page is only touched when something has changed."""
        names, seers = self._desk.board.models, self._desk.board.seers
        if known == [names, seers]:
            return gr.skip(), gr.skip(), gr.skip()
        if known is None and (asked := request.query_params.get("model")):  # the page was opened with ?model=…
            chosen = self._desk.board.named(asked)
        choice = chosen if chosen in names else next(iter(names), None)
        choices = controls.choices_of(names, seers)
        return (
            gr.update(choices=choices, value=choice),
            [names, seers],
            view.hint("" if names else wording.NO_MODEL),
        )


def _flip(name: str) -> str:
    return f"() => {{ document.querySelector('#qc-chat').classList.toggle('{name}') }}"
