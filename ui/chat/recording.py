"""What the Chat tab writes down, where the settings say that it may: answers, and what people think of them."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from queuechat.battles import Event, LogLine, Side, record
from queuechat.bus import Bus
from queuechat.errors import QueuechatError
from ui.talk.exchange import Exchange, Options, history

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation up to the answer in question: its name, and the pseudonym of who leads it."""

    name: str
    conversation: Sequence[Exchange]
    person: str

    @property
    def side(self) -> Side:
        last = self.conversation[-1]
        answered = [*history(self.conversation, ""), {"role": "assistant", "content": last.answer}]
        return Side(last.model, answered, self.name)

    def line_id(self, event: Event) -> str:
        """The same for the same verdict on the same answer, so that it is written once."""
        said = "\0".join([self.name, self.person, event, *(e.question + "\0" + e.answer for e in self.conversation)])
        return hashlib.sha256(said.encode(errors="replace")).hexdigest()[:32]


async def answered(bus: Bus, talk: Talk, options: Options, began: float) -> None:
    """Write an answer down; `began` is when it was asked for, in seconds since the epoch. One that never came is left
    out."""
    if talk.conversation[-1].answer:
        now = time.time()
        told: dict[str, Any] = {"temperature": options.temperature, "top_p": options.top_p}
        line = LogLine(
            Event.CHAT,
            [talk.side],
            talk.person,
            now,
            parameters=told | {"max_new_tokens": options.max_tokens},
            started=began,
            ended=now,
        )
        await _written(bus, line)


async def judged(bus: Bus, talk: Talk, event: Event) -> bool:
    """Write down what somebody thinks of the last answer; whether that could be done."""
    return await _written(bus, LogLine(event, [talk.side], talk.person, time.time(), id=talk.line_id(event)))


async def _written(bus: Bus, line: LogLine) -> bool:
    try:
        await record(bus, line)
    except QueuechatError as error:
        log.warning("a line of the log could not be written: %s", error)
        return False
    return True
