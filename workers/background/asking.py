"""One line of a batch: its way through the queue, to its line of the output or error file."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from queuechat.answer import failure_of
from queuechat.client import Client
from queuechat.credentials import Bearer
from queuechat.dialects.lines import Line, answered, place, read_body, refused
from queuechat.dialects.order import Order, Slip
from queuechat.dialects.whole import Whole
from queuechat.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    PermissionDenied,
    QueuechatError,
    Refused,
    StateLost,
    StreamDiverged,
)
from queuechat.protocol import End, ModelCard
from queuechat.roster import Model, Roster
from queuechat.scope import denied, may_use, unknown

log = logging.getLogger(__name__)

_PAUSE_S = 0.5
_FRESH_STARTS = 5  # what Redis has lost is asked again so often


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a line; `ok` says which file it belongs to."""

    number: int
    ok: bool
    record: dict[str, Any]


def line_id(batch_id: str, line: Line) -> str:
    """The request id of a line: the same for whoever asks it, and nobody's guess, since the batch's is random."""
    return hashlib.blake2b(f"{batch_id}:{line.number}".encode(), digest_size=16).hexdigest()


class Asker:
    """Asks what lines ask, in the bulk lane. What it asked goes on when it stops reading: the same line, asked again
    with the same id, has the same answer."""

    def __init__(
        self,
        client: Client,
        roster: Roster,
        *,
        bearer: Bearer,
        expires_at: float,
        id_of: Callable[[Line], str],
        reasoning_field: str,
    ):
        """`bearer` is the key whose batch it is, `reasoning_field` where thoughts are shown."""
        self._client, self._roster = client, roster
        self._bearer, self._expires_at, self._id_of = bearer, expires_at, id_of
        self._reasoning_field = reasoning_field
        self._asked: dict[int, tuple[str, list[str]]] = {}  # model and jobs of each line whose outcome is not kept yet

    async def answer(self, line: Line) -> Outcome | None:
        """Its outcome; None when the time of the batch ended first."""
        id = self._id_of(line)
        try:
            return Outcome(line.number, True, answered(line, id, await self._body(line, id)))
        except DeadlineExceeded:
            return None
        except QueuechatError as error:
            return Outcome(line.number, False, refused(line, id, error))
        except Exception:  # one line must not stop the others
            log.exception("request %s failed", id)
            return Outcome(line.number, False, refused(line, id, QueuechatError("a bug, see the log")))

    async def withdraw(self, line: Line) -> None:
        """Stop what was asked for a line, by whomever. Harmless for one that was not asked."""
        with contextlib.suppress(InvalidRequest, NotFound, PermissionDenied, DeadlineExceeded):  # it never was
            body = read_body(line)
            card = await self._card(body.model)
            order, _ = place(body, self._slip(self._id_of(line), card), card, 0)
            await self._client.bus.cancel(order.model, [job.id for job in order.jobs])

    async def let_go(self, outcomes: Sequence[Outcome]) -> None:
        """They are kept: what Redis has of these lines may go as soon as that of others. Until then it stays for as
        long as the batch may, so that who asks again gets the same, and nothing is run or billed twice."""
        asked = [self._asked.pop(outcome.number) for outcome in outcomes if outcome.number in self._asked]
        with contextlib.suppress(QueuechatError):
            for model, ids in asked:
                await self._client.bus.let_go(model, ids)

    async def _body(self, line: Line, id: str) -> dict[str, Any]:
        body = read_body(line)
        card = await self._card(body.model)
        starts = 0
        while True:
            slip = self._slip(id, card)
            order, whole = place(body, slip, card, int(time.time()))
            order = replace(order, jobs=[replace(job, heaped=True) for job in order.jobs])
            try:
                self._asked[line.number] = (order.model, [job.id for job in order.jobs])
                return await self._ask(order, whole)
            except Refused as error:  # there is no room, or no Redis: lines have time
                await asyncio.sleep(max(error.retry_after or 0, _PAUSE_S))
            except (StateLost, StreamDiverged):
                starts += 1
                if starts > _FRESH_STARTS:
                    raise

    def _slip(self, id: str, card: ModelCard) -> Slip:
        left_s = self._expires_at - time.time()
        if left_s <= 0:
            raise DeadlineExceeded("the batch has expired")
        return Slip(
            *(id, card.name, left_s, self._bearer.id, "bulk"),
            seed=int(id[:8], 16),
            card=card,
            reasoning_field=self._reasoning_field,
        )

    async def _card(self, name: str) -> ModelCard:
        """Of a model that somebody serves, or has served in the last day: its lines wait for a worker.

        Raises:
            ModelNotFound: there is none.
            PermissionDenied: there is one, but not for this key.
        """
        try:
            found = await self._find(name)
        except ModelNotFound as error:
            raise unknown(self._bearer, name, error) from None
        if not may_use(self._bearer, found):
            raise denied(name)
        return found.card

    async def _find(self, name: str) -> Model:
        while True:
            found = self._roster.census.find(name)
            try:
                return found or (await self._roster.refresh()).find(name) or self._roster.census.resolve(name)
            except Refused:
                await asyncio.sleep(_PAUSE_S)

    async def _ask(self, order: Order, whole: Whole) -> dict[str, Any]:
        """The body of the answer.

        Raises:
            Refused: it was not taken, or Redis does not answer; nothing was lost.
            QueuechatError: there will be no answer.
        """
        tally = order.tally()
        answer = await self._client.submit(order.jobs, outlives=True, keep_s=order.deadline_s)
        try:
            while events := await answer.take():
                for index, event in events:
                    whole.add(index, event)
                    if isinstance(event, End):
                        tally.add(index, event)
                        if failure := failure_of(event):
                            await answer.cancel()
                            raise failure
        finally:
            await answer.close()
        return whole.body(order.jobs[0].id, tally)
