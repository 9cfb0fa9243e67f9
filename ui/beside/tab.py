"""The Side by side tab: who fights is chosen by name."""

from __future__ import annotations

from typing import Any

import gradio as gr

from queuechat.errors import NoWorker
from ui import wording
from ui.desk import Desk
from ui.duel.duel import Duel
from ui.duel.scene import LETTERS, Scene
from ui.duel.stage import Stage, Updates, Words
from ui.duel.tab import AT_ONCE, DuelTab
from ui.gate.people import Visit
from ui.talk import view
from ui.talk.exchange import Exchange, Options

_WORDS = Words(
    "beside",
    "<div class='qc-hello'><h1>Two models, side by side</h1>"
    "<p>Choose who answers, ask both at once, and say which one you prefer.</p></div>",
    (
        "Explain how a queue keeps a busy kitchen calm.",
        "What is the difference between latency and throughput?",
    ),
    fresh="Clear",
)


def build(desk: Desk, blocks: gr.Blocks, clock: gr.Timer) -> None:
    """Put the tab into the Blocks that are being built."""
    tab = BesideTab(desk)
    tab.wire(blocks)
    tab.watch(blocks, clock)


class BesideTab(DuelTab):
    """A dropdown over each side; another model begins a new conversation."""

    def __init__(self, desk: Desk):
        self.known = gr.State(None)
        stage = Stage(_WORDS, self._choice)
        super().__init__(desk, stage, stage.heads)

    @staticmethod
    def _choice(side: int) -> gr.Component:
        letter = LETTERS[side]
        with gr.Row(elem_classes="qc-choice"):
            gr.HTML(f'<div class="qc-head"><i>{letter}</i></div>', container=False, padding=False)
            # Empty here: what is live is another thing by the time that a page is opened.
            return gr.Dropdown(
                [],
                value=None,
                label=f"Model {letter}",
                show_label=False,
                container=False,
                elem_id=f"qc-beside-model-{letter.lower()}",
                elem_classes="qc-model",
            )

    async def begin(self, visit: Visit, question: Exchange, *asked: Any) -> Duel:
        left, right = asked[:2]
        if not left or not right:
            raise NoWorker(wording.NO_MODEL)
        return Duel((left, right), visit.person, anonymous=False)

    def options(self, *asked: Any) -> Options:
        return Options(model="")

    def heads(self, duel: Duel | None, scene: Scene) -> Updates:
        if duel is None:
            return {}
        return {head: self._listed(name) for head, name in zip(self.stage.heads, duel.models, strict=True)}

    def _listed(self, name: str | None) -> Any:
        """A list with a choice that stays when its model has gone: nobody is asked another one than was chosen."""
        names = {*self.desk.board.models, *([name] if name else [])}
        return gr.update(choices=sorted(names), value=name)

    def wire(self, blocks: gr.Blocks) -> None:
        super().wire(blocks)
        for head in self.stage.heads:
            head.input(self.fresh, self.stage.kept, self.stage.shown, **AT_ONCE)

    def watch(self, blocks: gr.Blocks, clock: gr.Timer) -> None:
        """The lists follow the live models."""
        read = [self.known, self.stage.kept, *self.stage.heads]
        shown = [self.known, *self.stage.heads, self.stage.standing]
        gr.on([clock.tick, blocks.load], self.refresh, read, shown, **AT_ONCE)

    def refresh(self, known: list[str] | None, id: Any, *chosen: str | None) -> tuple[Any, ...]:
        names = self.desk.board.models
        if duel := self.tables.get(id):
            chosen = duel.models if known is None else chosen  # a page that comes back to its conversation
        elif known and len(names) > 1 and chosen == (*known, *known):  # the only one there was, so nobody's choice
            chosen = (None, None)
        if known == names:
            return (gr.skip(),) * (2 + len(chosen))
        heads = [self._listed(name or _pick(names, side)) for side, name in enumerate(chosen)]
        return names, *heads, view.hint("" if names else wording.NO_MODEL)


def _pick(names: list[str], side: int) -> str | None:
    """The first two; one alone is compared with itself."""
    return names[min(side, len(names) - 1)] if names else None
