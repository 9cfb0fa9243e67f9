"""What earlier responses said, as input of a new one: conversations that it goes on from, items that it refers to."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import orjson

from api.house import House
from api.pictures import room_for
from api.shelf import outcome, stored
from queuechat.dialects.pictures import is_embedded
from queuechat.dialects.responses import Asked
from queuechat.dialects.responses.asked import PREFIX
from queuechat.errors import BodyTooLarge, InvalidRequest, PreviousResponseNotFound, ResponseNotFound
from queuechat.responses import Record, find_response
from queuechat.settings import Settings

MAX_LINKS = 1000  #: responses of one conversation; each is a question to Redis

_ITEM = re.compile(r"(?:msg|fc|fco|rs|item)_([0-9a-f]{32})_(i?)[0-9]{1,6}")
_GOES_ON = ("completed", "incomplete")

Items = list[dict[str, Any]]


class Room:
    """What the items of one request may have in all, wherever they come from: text as a body, images as a request."""

    def __init__(self, settings: Settings):
        self._limit = self._text = settings.body_limit
        self._images = room_for(settings) - settings.body_limit

    def take(self, items: Sequence[dict[str, Any]], param: str) -> None:
        """Raises BodyTooLarge when they do not fit with those before them."""
        images = sum(len(part["image_url"]) for item in items for part in _embedded(item))
        self._images -= images
        self._text -= len(orjson.dumps(items)) - images
        if self._text < 0 or self._images < 0:
            raise BodyTooLarge(
                f"with what it refers to, this request has more than {self._limit} bytes, or too many of images",
                param=param,
            )


def _embedded(item: dict[str, Any]) -> Items:
    parts = item.get("content")
    return [
        part
        for part in (parts if isinstance(parts, list) else [])
        if part["type"] == "input_image" and is_embedded(part["image_url"])
    ]


async def conversation(house: House, tenant: str, id: str, room: Room) -> tuple[Items, str]:
    """All items up to the end of response `id` (as the client names it), oldest first; and the id of its job.

    Raises:
        PreviousResponseNotFound: it, or one that it goes on from, is not stored.
        InvalidRequest: it has no answer to go on from, or too many go before it.
        BodyTooLarge: there is no room for it.
    """
    parts: list[Items] = []
    first, next_id = "", id
    while next_id:
        if len(parts) == MAX_LINKS:
            raise InvalidRequest(
                f"the response {id!r} goes on from more than {MAX_LINKS} others: send the conversation as `input`",
                param="previous_response_id",
            )
        record = await _previous(house, tenant, next_id)
        asked, now = Asked.decode(record.asked), await outcome(house, record)
        if now["status"] not in _GOES_ON:
            raise InvalidRequest(
                f"the response {next_id!r} is {now['status']}: there is no answer to go on from",
                param="previous_response_id",
            )
        items = asked.items + now["output"]
        room.take(items, "previous_response_id")
        parts.append(items)
        first = first or record.id
        next_id = PREFIX + asked.previous if asked.previous else ""
    return [item for part in reversed(parts) for item in part], first


async def resolved(house: House, tenant: str, items: Items, room: Room) -> Items:
    """The items with those in place of references to them; a response that several name is read once.

    Raises:
        InvalidRequest: a reference leads to nothing.
        BodyTooLarge: there is no room for what they refer to.
    """
    sources: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    found: Items = []
    for k, item in enumerate(items):
        if item["type"] == "item_reference":
            id, param = item["id"], f"input[{k}].id"
            source = (named[1], named[2]) if (named := _ITEM.fullmatch(id)) else ("", "")
            if source not in sources:
                sources[source] = await _source(house, tenant, *source)
            if id not in sources[source]:
                raise InvalidRequest(f"`{param}` is {id[:80]!r}, which is no item of a stored response", param=param)
            item = sources[source][id]
            room.take([item], param)
        found.append(item)
    return found


async def _source(house: House, tenant: str, id: str, own: str) -> dict[str, dict[str, Any]]:
    """By their ids, the items of the input of a response, or (unless `own`) of its output."""
    items: Items = []
    if id:
        with contextlib.suppress(ResponseNotFound):
            record = await find_response(house.bus, id, tenant)
            items = Asked.decode(record.asked).items if own else (await outcome(house, record))["output"]
    return {item["id"]: item for item in items}


async def _previous(house: House, tenant: str, id: str) -> Record:
    try:
        return await stored(house, id, tenant)
    except ResponseNotFound:
        raise PreviousResponseNotFound(
            f"Previous response with id {id[:80]!r} not found: it was not stored, was deleted or has expired",
            param="previous_response_id",
        ) from None
