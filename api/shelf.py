"""Stored responses: put down before they are queued, and read again from any server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from api.exchange import Exchange
from api.house import House
from queuechat.dialects.responses import Asked, Assembly, assembled
from queuechat.dialects.responses.asked import PREFIX, outcome_of
from queuechat.errors import QueuechatError, ResponseNotFound
from queuechat.keys import LOG_S
from queuechat.protocol import Reason
from queuechat.responses import (
    Record,
    end_response,
    find_response,
    forget_response,
    put_response,
    read_events,
    state_of,
)

_EVENT = 100  # bytes of body that take as long to read as an event of a log

log = logging.getLogger(__name__)

_ID = re.compile(PREFIX + r"([0-9a-f]{32})")
_LOST = {"code": "server_error", "message": "the response is gone from Redis (it was flushed, or lost its disk)"}


@contextlib.asynccontextmanager
async def shelved(
    house: House, record: Record, keep_s: float, read: Callable[[], Assembly | None], exchange: Exchange
) -> AsyncIterator[None]:
    """Stored within the block, and after it unless it was not queued. `read` is what was read of it by then: a
    foreground response that was read to its end needs its log no longer than others; what nobody has read, or
    nobody could store, is still told by its log."""
    await put_response(house.bus, record, keep_s)
    try:
        yield
    finally:  # who has all of a stream leaves at once, which must not keep us from this
        await asyncio.shield(_tidied(house, record, read(), exchange))


async def _tidied(house: House, record: Record, assembly: Assembly | None, exchange: Exchange) -> None:
    try:
        if not exchange.queued:
            await house.bus.cancel(record.model, [record.id])  # nobody was told of it, should it be there after all
        if not exchange.queued or exchange.replayed:
            await forget_response(house.bus, record.id)
        elif assembly and assembly.end and not assembly.asked.background:
            await end_response(house.bus, record, orjson.dumps(assembly.outcome()), log_s=LOG_S)
    except QueuechatError as error:
        log.warning("response %s is told by its log: %s", record.id, error)


async def stored(house: House, id: str, tenant: str) -> Record:
    """The response that an id names, of whoever asks. Raises ResponseNotFound."""
    named = _ID.fullmatch(id)
    if not named:
        raise ResponseNotFound(f"there is no response {id[:80]!r}; ids look like {PREFIX}<32 hexadecimal digits>")
    return await find_response(house.bus, named[1], tenant)


async def shown(house: House, record: Record) -> dict[str, Any]:
    """The response object as it is now."""
    return Asked.decode(record.asked).shown(await outcome(house, record))


async def outcome(house: House, record: Record) -> dict[str, Any]:
    """Where it stands, from its job; what came of it, from its log."""
    if record.ended:
        return dict(orjson.loads(record.ended))
    state = await state_of(house.bus, record)
    if state in ("waiting", "running"):
        return outcome_of("queued" if state == "waiting" else "in_progress")
    events = await read_events(house.bus, record)
    size = len(record.asked) + len(events) * _EVENT
    assembly = await house.threads.work(size, assembled, Asked.decode(record.asked), events)
    if assembly.end is None:
        return outcome_of("failed", error=_LOST)
    if assembly.end.reason is not Reason.DEAD:  # a dead letter may be redriven
        await end_response(house.bus, record, orjson.dumps(assembly.outcome()))
    return assembly.outcome()
