"""One turn as the page sees it: frames that grow to a settled exchange, whatever happens on the way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import date

from queuechat.client import failure_of
from queuechat.dialects.order import Order
from queuechat.errors import NoWorker, QueuechatError
from queuechat.protocol import Reason
from ui import wording
from ui.desk import Desk
from ui.gate.people import STRANGER, Visit
from ui.talk.dates import dated
from ui.talk.exchange import Exchange, Options
from ui.talk.following import Progress, follow
from ui.talk.placing import place

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Frame:
    """The last exchange so far, and what is said of it while it is not settled."""

    exchange: Exchange
    pending: str = ""
    live: str = ""

    @property
    def settled(self) -> bool:
        return not self.pending and not self.live


async def reply(
    desk: Desk,
    conversation: Sequence[Exchange],
    options: Options,
    stop: asyncio.Event,
    visit: Visit = STRANGER,
    *,
    nameless: bool = False,
) -> AsyncGenerator[Frame, None]:
    """Answer the last question, once the gate has let it in. The last frame is settled: it has a footer, a notice, or
    both. Raises nothing.

    Args:
        visit: who asks, from `visit_of(request)`; the sides of a battle are given the same one.
        nameless: no footer or notice may tell which model it is.
    """
    frame = Frame(conversation[-1].asked, pending=wording.waiting_line(0, 0))
    yield frame
    try:
        async with aclosing(_frames(desk, conversation, options, stop, visit, nameless)) as frames:
            async for frame in frames:
                yield frame
    except QueuechatError as error:
        notice = wording.nameless(error, options.model) if nameless else wording.notice_of(error, options.model)
        yield Frame(replace(frame.exchange, notice=notice))
    except Exception:
        log.exception("an answer could not be followed")
        yield Frame(replace(frame.exchange, notice="Something went wrong in this server; its log says what. Retry."))


async def knock(desk: Desk, conversation: Sequence[Exchange], options: Options, visit: Visit) -> None:
    """Whether the gate would let the last question in, before anything is kept of it; `reply` with the same visit then
    costs no second question. What else stands in the way of an answer, `reply` tells.

    Raises:
        QueuechatError: it would not.
    """
    try:
        order = await _placed(desk, conversation, options)
    except QueuechatError:
        return
    await desk.gate.admit(visit, order.jobs[0])


async def _placed(desk: Desk, conversation: Sequence[Exchange], options: Options) -> Order:
    return await place(desk, conversation, replace(options, system=dated(options.system, date.today())))


async def _frames(
    desk: Desk, conversation: Sequence[Exchange], options: Options, stop: asyncio.Event, visit: Visit, nameless: bool
) -> AsyncGenerator[Frame, None]:
    if not options.model:
        raise NoWorker(wording.NO_MODEL)
    order = await _placed(desk, conversation, options)
    job = order.jobs[0]
    await desk.gate.admit(visit, job)
    async with aclosing(follow(desk.client, job, stop, manner=order.manner)) as steps:
        async for progress in steps:
            yield frame_of(conversation[-1], progress, order.model, order.unit, nameless=nameless)


def frame_of(exchange: Exchange, progress: Progress, model: str, unit: int = 1, *, nameless: bool = False) -> Frame:
    """What to show of this progress; `unit` is how many of what it counts are about one token."""
    exchange = replace(exchange.asked, answer=progress.text, thoughts=progress.thoughts, model=model)
    if progress.end:
        stopped = progress.end.reason is Reason.CANCELLED  # by the reader: what there is, is the answer
        failure = None if stopped else failure_of(progress.end)
        return Frame(
            replace(
                exchange,
                footer=wording.footer_line(progress.end, "" if nameless else model),
                notice=_notice(failure, model, nameless) if failure else "",
            )
        )
    if not progress.text and not progress.thoughts:
        return Frame(exchange, pending=wording.waiting_line(progress.place, progress.eta_s))
    return Frame(exchange, live=wording.live_line(progress.tokens // unit, progress.writing_s))


def _notice(failure: QueuechatError, model: str, nameless: bool) -> str:
    # What a worker or a provider says of itself may name it in ways that nobody can list.
    return wording.nameless_failure(failure) if nameless else wording.notice_of(failure, model)
