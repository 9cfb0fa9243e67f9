"""A duel: two models at the same questions, until somebody says who is better. Pure; the page sees only its scene."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from queuechat.battles import Battle, Choice, Side, new_battle_id
from ui import wording
from ui.talk.exchange import Exchange, history
from ui.talk.reply import Frame

Talk = tuple[Exchange, ...]
Frames = dict[int, Frame]
SIDES = (0, 1)


def _two_ids() -> tuple[str, str]:
    return secrets.token_hex(16), secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class Duel:
    """Two conversations. `id` names it in Redis and in the browser, and tells nobody the models."""

    models: tuple[str, str]
    voter: str
    anonymous: bool
    id: str = field(default_factory=new_battle_id)
    conversations: tuple[str, str] = field(default_factory=_two_ids)
    talks: tuple[Talk, Talk] = ((), ())
    choice: Choice | None = None
    leaked: bool = False  #: an answer told who wrote it before the vote
    started: float = field(default_factory=time.time)

    @property
    def hidden(self) -> bool:
        """Whether the reader must not know the models yet."""
        return self.anonymous and self.choice is None

    @property
    def begun(self) -> bool:
        return bool(self.talks[0])

    @property
    def failed(self) -> tuple[int, ...]:
        """The sides whose last answer did not come, or not to its end."""
        return tuple(side for side in SIDES if self.begun and not _whole(self.talks[side][-1]))

    @property
    def votable(self) -> bool:
        return self.begun and self.choice is None and not self.failed

    def asked(self, question: Exchange) -> Duel:
        """With a new question to both."""
        left, right = self.talks
        return replace(self, talks=((*left, question), (*right, question)))

    def again(self, sides: Sequence[int]) -> Duel:
        """With the last question to these sides once more."""
        return self._last({side: self.talks[side][-1].asked for side in sides})

    def heard(self, frames: Mapping[int, Frame]) -> Duel:
        """With what these sides have said so far. What is not settled needs a retry if its reader leaves now."""
        last = {}
        for side, frame in frames.items():
            last[side] = frame.exchange if frame.settled else replace(frame.exchange, notice=wording.LEFT)
        return self._last(last)

    def voted(self, choice: Choice) -> Duel:
        return replace(self, choice=choice)

    def side(self, number: int) -> Side:
        """A side as it is recorded: the conversation with its last answer."""
        talk = self.talks[number]
        answer = [{"role": "assistant", "content": talk[-1].answer}] if talk else []
        messages: list[dict[str, Any]] = [*history(talk, ""), *answer]
        return Side(self.models[number], messages, self.conversations[number])

    def battle(self) -> Battle:
        """As it is recorded."""
        return Battle(self.id, (self.side(0), self.side(1)), self.anonymous, self.voter, self.started, self.leaked)

    def _last(self, exchanges: Mapping[int, Exchange]) -> Duel:
        left, right = (
            (*talk[:-1], exchanges[side]) if side in exchanges else talk for side, talk in enumerate(self.talks)
        )
        return replace(self, talks=(left, right))


def _whole(exchange: Exchange) -> bool:
    return bool(exchange.answer) and not exchange.notice
