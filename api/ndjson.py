"""Ollama's stream: a JSON object a line."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from queuechat.client import Event
from queuechat.dialects.ollama import Lines
from queuechat.dialects.ollama.problems import told
from queuechat.dialects.order import Order, Tally
from queuechat.dialects.problems import kind_of
from queuechat.errors import QueuechatError


class LineFrames:
    """The lines of one answer. Between them a space says that we are still here: it is part of the line to come, where
    an empty line would be taken for broken JSON."""

    media_type = "application/x-ndjson"
    still_here = b" "

    def __init__(self, order: Order, id: str, *, chat: bool):
        self._lines = Lines(order, id, chat=chat)

    def render(self, events: Sequence[tuple[int, Event]]) -> bytes:
        return b"".join(orjson.dumps(line) + b"\n" for line in self._lines.feed(events))

    def last(self, tally: Tally) -> bytes:
        return orjson.dumps(self._lines.last(tally)) + b"\n"

    def failure(self, error: QueuechatError, id: str) -> bytes:
        kind = kind_of(error)
        _, body = told(kind, kind.message or error.message, error.param, error.code, id)
        return orjson.dumps(body) + b"\n"
