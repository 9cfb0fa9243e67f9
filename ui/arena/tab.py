"""The Arena tab: who fights is drawn, and told after the vote."""

from __future__ import annotations

import contextlib
import logging
import random
from typing import Any

import gradio as gr

from queuechat import battles
from queuechat.errors import NoWorker, QueuechatError, UnsupportedParameter
from ui import wording
from ui.arena.pairing import draw_pair
from ui.desk import Desk
from ui.duel.duel import Duel
from ui.duel.scene import Scene
from ui.duel.stage import Stage, Updates, Words
from ui.duel.tab import AT_ONCE, DuelTab
from ui.gate.people import Visit
from ui.talk import view
from ui.talk.exchange import Exchange, Options

log = logging.getLogger(__name__)

_MAX_TOKENS = 2048
WORDS = Words(
    "arena",
    "<div class='qc-hello'><h1>Which answer is better?</h1>"
    "<p>Two models answer, and you do not know which. Vote, and see who they were.</p></div>",
    (
        "Explain how a queue keeps a busy kitchen calm.",
        "Write a haiku about a river that never stops.",
        "Plan a weekend in a town by the sea for two people who do not swim.",
        "Why is the sky dark at night?",
    ),
    fresh="New round",
)


def build(desk: Desk, blocks: gr.Blocks, clock: gr.Timer) -> None:
    """Put the tab into the Blocks that are being built."""
    tab = ArenaTab(desk, Stage(WORDS))
    tab.wire(blocks)
    tab.watch(blocks, clock)


class ArenaTab(DuelTab):
    """Names and parameters are hidden: everybody is asked the same way."""

    async def begin(self, visit: Visit, question: Exchange, *asked: Any) -> Duel:
        votes = await self._votes()
        pair = self._draw(question, votes)
        if pair is None:  # a miss looks again before it is believed
            with contextlib.suppress(QueuechatError):
                await self.desk.roster.refresh()
            pair = self._draw(question, votes)
        if pair is None:
            raise NoWorker(wording.no_pair(self._able(question), pictures=bool(question.images)))
        return Duel(pair, visit.person, anonymous=True)

    def _able(self, question: Exchange) -> list[str]:
        return self.desk.board.seers if question.images else self.desk.board.models

    def _draw(self, question: Exchange, votes: dict[str, int]) -> tuple[str, str] | None:
        return draw_pair(self._able(question), self.desk.pairs, random.SystemRandom(), votes)

    def admit(self, duel: Duel, question: Exchange) -> None:
        if duel.hidden and question.images and not set(duel.models) <= set(self.desk.board.seers):
            raise UnsupportedParameter(wording.BLIND_BATTLE, param="images")

    async def _votes(self) -> dict[str, int]:
        if not self.desk.pairs.fewer_votes_first:
            return {}
        try:
            return await battles.votes(self.desk.client.bus)
        except QueuechatError as error:
            log.warning("pairs are drawn without regard to votes: %s", error)
            return {}

    def options(self, *asked: Any) -> Options:
        return Options(model="", max_tokens=_MAX_TOKENS)

    def heads(self, duel: Duel | None, scene: Scene) -> Updates:
        return dict(zip(self.stage.heads, scene.heads, strict=True))

    def watch(self, blocks: gr.Blocks, clock: gr.Timer) -> None:
        """Say so while there are not two models to fight."""
        told = gr.State("")
        gr.on([clock.tick, blocks.load], self.lonely, told, [told, self.stage.standing], **AT_ONCE)

    def lonely(self, told: str) -> tuple[Any, Any]:
        models = self.desk.board.models
        line = wording.no_pair(models) if len(models) < 2 else ""
        return (gr.skip(), gr.skip()) if line == told else (line, view.hint(line))
