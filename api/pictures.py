"""The images of a request on their way into the queue: fetched where they are named, checked, off the event loop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request

from api.house import house_of
from queuechat.dialects.order import Slip
from queuechat.dialects.pictures import (
    Limits,
    Picture,
    Pictured,
    checked,
    embedded,
    is_embedded,
    limits_of,
    refuse_blind,
    refuse_too_many,
    url_of,
)
from queuechat.errors import BodyTooLarge, InvalidImage
from queuechat.settings import Settings

#: A JSON string that is one run of base64, as images are in all dialects; it costs nothing to parse.
_FILE = re.compile(rb'"(?:data:[a-z0-9/.+;=-]{1,100},)?[A-Za-z0-9+/=]{1024,}"')


def room_for(settings: Settings) -> int:
    """Bytes of a body that may have images."""
    return settings.body_room


def refuse_much_else(raw: bytes, limit: int) -> None:
    """Raises BodyTooLarge for a body over the limit of which too much is not images."""
    if len(raw) > limit and len(raw) - sum(len(found[0]) for found in _FILE.finditer(raw)) > limit:
        raise _too_large(limit)


async def refuse_long(request: Request, pictures: Sequence[Picture]) -> None:
    """Raises BodyTooLarge where, beside the images that were found in it, the body is over the limit. What merely looks
    like an image had to be read to be known."""
    size, limit = len(await request.body()), house_of(request).settings.body_limit
    if size > limit and size - sum(len(part.url) for _, part in pictures) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the request body is over {limit} bytes, its images not counted")


async def with_pictures(request: Request, slip: Slip, body: Pictured) -> Slip:
    """The slip with the images of the body, as base64.

    Raises:
        UnsupportedParameter: the model sees none.
        InvalidImage: one cannot be had, or is over a limit.
    """
    pictures = body.pictures()
    await refuse_long(request, pictures)
    if not pictures:
        return replace(slip, images=[])
    limits = limits_of(house_of(request).settings)
    refuse_blind(pictures, slip.card, body.model)
    refuse_too_many(pictures, limits)
    fetched = await _fetched(request, pictures)
    return replace(slip, images=await asyncio.to_thread(_prepared, pictures, fetched, limits, body.choices))


async def _fetched(request: Request, pictures: list[Picture]) -> dict[str, bytes]:
    """By URL, those that are not in the body."""
    fetcher = house_of(request).fetcher
    named = {url: where for where, part in pictures if not is_embedded(url := url_of(part))}
    room = limits_of(house_of(request).settings).total

    async def one(url: str, where: str) -> bytes:
        nonlocal room
        file = await fetcher.fetch(url, where)
        room -= len(file)
        if room < 0:
            raise InvalidImage(f"with `{where}` the images are too large in all: send smaller ones", param=where)
        return file

    try:
        async with asyncio.TaskGroup() as group:
            tasks = {url: group.create_task(one(url, where)) for url, where in named.items()}
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return {url: task.result() for url, task in tasks.items()}


def _prepared(pictures: list[Picture], fetched: dict[str, bytes], limits: Limits, choices: int) -> list[str]:
    urls = [(url_of(part), where) for where, part in pictures]
    files = [fetched[url] if url in fetched else embedded(url, where) for url, where in urls]
    return checked(files, pictures, limits, choices)
