"""One turn of a duel: both sides are asked, both answers told, and what came of it is kept and recorded."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from queuechat.cleaning.words import MAKERS, names_one_of
from ui import wording
from ui.desk import Desk
from ui.duel import recording
from ui.duel.duel import Duel
from ui.duel.merging import together
from ui.duel.scene import Scene, scene_of
from ui.duel.tables import Tables
from ui.gate.people import Visit
from ui.talk.exchange import Options
from ui.talk.reply import Frame, reply


async def turn(
    desk: Desk, tables: Tables, duel: Duel, sides: Sequence[int], options: Options, page: str, visit: Visit
) -> AsyncGenerator[Scene, None]:
    """Ask these sides the last question. The last scene is at rest, unless the page leaves the duel before that.

    `page` is what `Turns` finds it by, to stop it.
    """
    waiting = {side: Frame(duel.talks[side][-1], pending=wording.waiting_line(0, 0)) for side in sides}
    tables.put(duel.heard(waiting))
    with desk.turns.begin(page) as stop, tables.turn(duel.id):
        yield scene_of(duel, waiting)
        began = time.time()
        await recording.opened(desk.client.bus, duel)
        answers = {
            side: reply(
                desk, duel.talks[side], replace(options, model=duel.models[side]), stop, visit, nameless=duel.hidden
            )
            for side in sides
        }
        try:
            async with aclosing(together(answers)) as merged:
                async for frames in merged:
                    now = tables.change(duel.id, partial(Duel.heard, frames=frames))
                    if now is None:
                        if not stop.is_set():  # others needed its place; who began anew has stopped it
                            yield scene_of(duel.heard(frames))
                        return
                    yield scene_of(now, frames)
        finally:  # also when the reader leaves in the middle: what was read was read
            now = tables.change(duel.id, _judged)
        if now is None:
            return
        await recording.answered(desk.client.bus, now, sides, options, began)
    yield scene_of(now)


def _judged(duel: Duel) -> Duel:
    """With a mark when an answer has just told who wrote it; to ask again does not undo what was read."""
    said = "\n".join(f"{talk[-1].thoughts}\n{talk[-1].answer}" for talk in duel.talks).lower()
    told = duel.hidden and names_one_of((*duel.models, *MAKERS), said)
    return replace(duel, leaked=True) if told else duel
