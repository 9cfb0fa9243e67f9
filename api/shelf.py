"""Stored responses: put down before they are queued, read again from any server, gone on from."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import orjson

from api.exchange import Exchange
from api.house import House
from api.pictures import room_for
from queuechat.dialects.responses import Asked, Assembly, assembled
from queuechat.dialects.responses.asked import PREFIX, outcome_of
from queuechat.errors import BodyTooLarge, InvalidRequest, PreviousResponseNotFound, QueuechatError, ResponseNotFound
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

log = logging.getLogger(__name__)

_ID = re.compile(PREFIX + r"([0-9a-f]{32})")
_ITEM = re.compile(r"(?:msg|fc|fco|rs|item)_([0-9a-f]{32})_(i?)[0-9]{1,6}")
_LOST = {"code": "server_error", "message": "the response is gone from Redis (it was flushed, or lost its disk)"}
_GOES_ON = ("completed", "incomplete")


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
    assembly = assembled(Asked.decode(record.asked), await read_events(house.bus, record))
    if assembly.end is None:
        return outcome_of("failed", error=_LOST)
    if assembly.end.reason is not Reason.DEAD:  # a dead letter may be redriven
        await end_response(house.bus, record, orjson.dumps(assembly.outcome()))
    return assembly.outcome()


async def conversation(house: House, tenant: str, id: str) -> tuple[list[dict[str, Any]], str]:
    """All items up to the end of response `id` (as the client names it), oldest first; and the id of its job.

    Raises:
        PreviousResponseNotFound: it, or one that it goes on from, is not stored.
        InvalidRequest: it has no answer to go on from.
        BodyTooLarge: it is longer than a body may be.
    """
    parts: list[list[dict[str, Any]]] = []
    size, first, next_id = 0, "", id
    while next_id:
        record = await _previous(house, tenant, next_id)
        asked, now = Asked.decode(record.asked), await outcome(house, record)
        if now["status"] not in _GOES_ON:
            raise InvalidRequest(
                f"the response {next_id!r} is {now['status']}: there is no answer to go on from",
                param="previous_response_id",
            )
        size += len(record.asked) + len(orjson.dumps(now["output"]))
        if size > (room := room_for(house.settings)):
            raise BodyTooLarge(
                f"the conversation up to {id!r} has more than the {room} bytes of a request",
                param="previous_response_id",
            )
        parts.append(asked.items + now["output"])
        first = first or record.id
        next_id = PREFIX + asked.previous if asked.previous else ""
    return [item for part in reversed(parts) for item in part], first


async def resolved(house: House, tenant: str, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items with those in place of references to them. Raises InvalidRequest for a reference to nothing."""
    return [
        await _referred(house, tenant, item["id"], f"input[{k}].id") if item["type"] == "item_reference" else item
        for k, item in enumerate(items)
    ]


async def _referred(house: House, tenant: str, id: str, param: str) -> dict[str, Any]:
    named = _ITEM.fullmatch(id)
    found: list[dict[str, Any]] = []
    if named:
        with contextlib.suppress(ResponseNotFound):
            record = await find_response(house.bus, named[1], tenant)
            found = Asked.decode(record.asked).items if named[2] else (await outcome(house, record))["output"]
    for item in found:
        if item["id"] == id:
            return item
    raise InvalidRequest(f"`{param}` is {id[:80]!r}, which is no item of a stored response", param=param)


async def _previous(house: House, tenant: str, id: str) -> Record:
    try:
        return await stored(house, id, tenant)
    except ResponseNotFound:
        raise PreviousResponseNotFound(
            f"Previous response with id {id[:80]!r} not found: it was not stored, was deleted or has expired",
            param="previous_response_id",
        ) from None
