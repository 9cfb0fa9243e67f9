"""What a dialect must know to tell an answer as a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from queuechat.client import Event
from queuechat.dialects.order import Tally
from queuechat.errors import QueuechatError


class Frames(Protocol):
    """One stream. It sees every event of the order once and in order; what it gives is written as it is."""

    media_type: str
    still_here: bytes  #: what keeps the connection alive, and readers skip

    def render(self, events: Sequence[tuple[int, Event]]) -> bytes:
        """The events, or nothing when there is nothing to tell yet."""

    def last(self, tally: Tally) -> bytes:
        """What follows the last event."""

    def failure(self, error: QueuechatError, id: str) -> bytes:
        """The end of a stream that could not end well. `id` is what could be asked for again."""


#: From the id of the request, which is known once it is queued, to its stream.
Opening = Callable[[str], Frames]
