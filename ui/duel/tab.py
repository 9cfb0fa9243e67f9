"""The handlers that both tabs of duels share. A tab says who fights (`begin`) and how they are asked (`options`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from queuechat.battles import Choice
from queuechat.errors import QueuechatError
from ui import wording
from ui.desk import Desk
from ui.duel import recording
from ui.duel.duel import SIDES, Duel
from ui.duel.play import turn
from ui.duel.scene import Scene, scene_of
from ui.duel.stage import Stage, Updates
from ui.duel.tables import Tables
from ui.gate.people import Visit, visit_of
from ui.talk import view
from ui.talk.composer import question_of, typed_again
from ui.talk.exchange import Exchange, Options
from ui.talk.reply import knock

_QUIET = {"show_progress": "hidden", "api_visibility": "private"}
AT_ONCE = {**_QUIET, "queue": False}
# "multiple": the default would drop what is sent in the moment between an answer's end and its event's.
_TURN = {**_QUIET, "trigger_mode": "multiple"}
_PATIENCE_S = 3.0  # a page that was left is noticed at once, and what it waited for is cancelled in less


class DuelTab:
    """One tab. `asked` are the components whose values `begin` and `options` are given."""

    def __init__(self, desk: Desk, stage: Stage, asked: Sequence[gr.Component] = ()):
        self.desk, self.stage, self.tables = desk, stage, Tables()
        self._asked = list(asked)

    async def begin(self, visit: Visit, question: Exchange, *asked: Any) -> Duel:
        """A new duel, before its first question.

        Raises:
            QueuechatError: there can be none; the message says what to do.
        """
        raise NotImplementedError

    def admit(self, duel: Duel, question: Exchange) -> None:
        """Look at a question before it is asked.

        Raises:
            QueuechatError: these two cannot be asked that.
        """

    def options(self, *asked: Any) -> Options:
        """What both sides are asked with."""
        raise NotImplementedError

    def heads(self, duel: Duel | None, scene: Scene) -> Updates:
        """What stands over the sides, when a duel begins, ends, or is found again."""
        raise NotImplementedError

    def wire(self, blocks: gr.Blocks) -> None:
        """Every event."""
        stage, shown = self.stage, self.stage.shown
        stage.box.submit(self.ask, [stage.box, stage.kept, *self._asked], shown, **_TURN)
        for button in stage.examples:
            button.click(self.asking(button.value), [stage.kept, *self._asked], shown, **_TURN)
        stage.regenerate.click(self.retrying(SIDES), [stage.kept, *self._asked], shown, **_TURN)
        for side, button in enumerate(stage.retries):
            button.click(self.retrying((side,)), [stage.kept, *self._asked], shown, **_TURN)
        for choice, button in stage.votes.items():
            button.click(self.voting(choice), stage.kept, shown, **AT_ONCE)
        stage.box.stop(self.stop, **AT_ONCE)
        stage.fresh.click(self.fresh, stage.kept, shown, **AT_ONCE)
        stage.share.click(self.shared, stage.kept, js=f"(id) => (queuechat.share('{stage.words.name}'), id)", **AT_ONCE)
        blocks.load(self.restore, stage.kept, shown, **AT_ONCE)
        blocks.unload(self.leave)

    # -- handlers --------------------------------------------------------------------------------------------------

    async def ask(
        self, request: gr.Request, typed: dict[str, Any], id: Any, *asked: Any
    ) -> AsyncGenerator[Updates, None]:
        """What was typed and attached, to both."""
        duel = self.tables.get(id)
        if duel and self.tables.answering(duel.id):
            yield {self.stage.box: gr.skip()}
            return
        try:
            question = await question_of(self.desk, typed, visit_of(request))
        except QueuechatError as error:
            yield self._refused(typed["text"], error)
            return
        if question:
            async with aclosing(self._ask(request, question, id, *asked)) as updates:
                async for update in updates:
                    yield update

    def asking(self, text: str) -> Callable[..., AsyncGenerator[Updates, None]]:
        async def example(request: gr.Request, id: Any, *asked: Any) -> AsyncGenerator[Updates, None]:
            async with aclosing(self._ask(request, Exchange(text), id, *asked)) as updates:
                async for update in updates:
                    yield update

        return example

    def retrying(self, sides: Sequence[int]) -> Callable[..., AsyncGenerator[Updates, None]]:
        async def retry(request: gr.Request, id: Any, *asked: Any) -> AsyncGenerator[Updates, None]:
            duel = self.tables.get(id)
            if duel is None or not duel.begun or self.tables.answering(duel.id):
                yield {self.stage.box: gr.skip()}
                return
            async with aclosing(self._turn(request, duel.again(sides), sides, asked, visit_of(request))) as updates:
                async for update in updates:
                    yield update

        return retry

    def voting(self, choice: Choice) -> Callable[..., Any]:
        async def vote(request: gr.Request, id: Any) -> Updates:
            return await self.vote(id, choice)

        return vote

    async def vote(self, id: Any, choice: Choice) -> Updates:
        """Count the vote and say who was who; or say why not, and leave the buttons for another try."""
        duel = self.tables.get(id)
        if duel is None:
            return self._set(None, hint=wording.FORGOTTEN)
        if duel.choice and not self.tables.answering(duel.id):  # in another page of the same browser
            return self._set(duel, hint="" if duel.choice is choice else wording.VOTED_BEFORE)
        if not duel.votable or self.tables.answering(duel.id):
            return {self.stage.box: gr.skip()}
        try:
            vote = await recording.vote(self.desk.client.bus, duel, choice)
        except QueuechatError as error:
            return self._set(duel, hint=wording.uncounted(error))
        duel = self.tables.change(duel.id, partial(Duel.voted, choice=vote)) or duel.voted(vote)
        return self._set(duel, hint="" if vote is choice else wording.VOTED_BEFORE)

    def fresh(self, request: gr.Request, id: Any) -> Updates:
        """Begin anew, and stop what is being answered."""
        self.tables.drop(id)
        self.stop(request)
        return self._set(None)

    def stop(self, request: gr.Request) -> None:
        self.desk.turns.stop(self._page(request))

    leave = stop

    async def shared(self, id: Any) -> None:
        """The picture is made by the page itself; here it is only recorded."""
        if duel := self.tables.get(id):
            await recording.shared(self.desk.client.bus, duel)

    async def restore(self, id: Any) -> Updates:
        """The duel that the browser was in. One that another of its pages is busy with stays there."""
        duel = self.tables.get(id)
        if duel and not await self.tables.at_rest(duel.id, _PATIENCE_S):
            return self._set(None)
        return self._set(self.tables.get(id))

    # -- a turn ----------------------------------------------------------------------------------------------------

    async def _ask(
        self, request: gr.Request, question: Exchange, id: Any, *asked: Any
    ) -> AsyncGenerator[Updates, None]:
        duel = self.tables.get(id)
        if duel and self.tables.answering(duel.id):
            yield {self.stage.box: gr.skip()}
            return
        visit = visit_of(request)
        try:
            duel = duel or await self.begin(visit, question, *asked)
            self.admit(duel, question)
            for side in SIDES:
                options = replace(self.options(*asked), model=duel.models[side])
                await knock(self.desk, [*duel.talks[side], question], options, visit)
        except QueuechatError as error:
            yield self._refused(question.question, error)
            return
        yield {self.stage.box: typed_again("")}
        async with aclosing(self._turn(request, duel.asked(question), SIDES, asked, visit)) as updates:
            async for update in updates:
                yield update

    def _refused(self, text: str, error: QueuechatError) -> Updates:
        return {self.stage.box: gr.update(value=typed_again(text)), self.stage.hint: view.hint(error.message)}

    async def _turn(
        self, request: gr.Request, duel: Duel, sides: Sequence[int], asked: Sequence[Any], visit: Visit
    ) -> AsyncGenerator[Updates, None]:
        if self.tables.answering(duel.id):  # another page of this browser was faster
            yield {self.stage.box: gr.skip()}
            return
        page, options = self._page(request), self.options(*asked)
        scenes = turn(self.desk, self.tables, duel, sides, options, page, visit)
        async with aclosing(scenes):
            scene = await anext(scenes)
            yield {self.stage.kept: duel.id, **self.stage.whole(scene), **self.heads(duel, scene)}
            async for scene in scenes:
                yield self.stage.talking(scene) if scene.busy else self.stage.whole(scene)

    def _set(self, duel: Duel | None, hint: str = "") -> Updates:
        scene = scene_of(duel)
        id = duel.id if duel else None
        return {self.stage.kept: id, **self.stage.whole(scene, hint), **self.heads(duel, scene)}

    def _page(self, request: gr.Request) -> str:
        return f"{request.session_hash}/{self.stage.words.name}"
