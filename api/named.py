"""Anthropic's stream: server-sent events that each have a name, and pings that keep the connection alive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from api.sse import EVENT_STREAM
from queuechat.client import Event
from queuechat.dialects.anthropic import PING, MessageStream
from queuechat.dialects.anthropic.problems import told
from queuechat.dialects.order import Order, Tally
from queuechat.dialects.problems import kind_of
from queuechat.errors import QueuechatError


def _named(events: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events)


class NamedFrames:
    """The frames of one message."""

    media_type = EVENT_STREAM
    still_here = _named([PING])

    def __init__(self, order: Order, id: str):
        self._stream = MessageStream(order, id)

    def render(self, events: Sequence[tuple[int, Event]]) -> bytes:
        return _named(self._stream.feed(events))

    def last(self, tally: Tally) -> bytes:
        return _named(self._stream.last(tally))

    def failure(self, error: QueuechatError, id: str) -> bytes:
        kind = kind_of(error)
        _, body = told(kind, kind.message or error.message, error.param, error.code, id)
        return _named([body])
