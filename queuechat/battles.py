"""Battles between two models, the votes on them, and the log lines that tell of both as FastChat's logs do.

A battle has at most one vote. The mark on the battle and the line in the log are one step of Redis, so a vote that was
counted is logged, however often it was sent. The lines wait in a stream until the background process has written them
to files (`queuechat.backlog`).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from queuechat import keys
from queuechat.bus import Bus, memory_low
from queuechat.errors import Conflict, NotFound

ROLES = ("user", "assistant")


class BattleNotFound(NotFound):
    """No such battle of this voter and these models, or it is too old for a vote."""

    code = "battle_not_found"


class Choice(StrEnum):
    """What can be voted for: FastChat's types of a log line."""

    LEFT = "leftvote"
    RIGHT = "rightvote"
    TIE = "tievote"
    BOTH_BAD = "bothbad_vote"


class Event(StrEnum):
    """What else a log line can tell of."""

    CHAT = "chat"  #: a model has answered
    UPVOTE = "upvote"
    DOWNVOTE = "downvote"
    FLAG = "flag"
    SHARE = "share"


@dataclass(frozen=True, slots=True)
class Side:
    """A model and its conversation: messages as the API takes them, oldest first. A reply that failed has no content.
    `conv_id` is the conversation's name; "" derives one from what it is a side of."""

    model: str
    messages: Sequence[dict[str, Any]]
    conv_id: str = ""

    @property
    def has_images(self) -> bool:
        return any(_images(message.get("content")) for message in self.messages)


@dataclass(frozen=True, slots=True)
class Battle:
    """Two models side by side. `voter` is a pseudonym, never an address; `started` is in seconds since the epoch.
    `leaked`: the voter was told who is who before the vote, by an answer, so it is recorded and rates nobody."""

    id: str
    sides: tuple[Side, Side]
    anonymous: bool
    voter: str
    started: float
    leaked: bool = False

    @property
    def seal(self) -> str:
        """A digest of what may not change while it lasts: who votes, and on which models."""
        names = [self.voter, self.anonymous, *(side.model for side in self.sides)]
        return hashlib.sha256(orjson.dumps(names)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class LogLine:
    """Something that happened: to one side, or to both of a battle. It is logged once for its `id`, however often it is
    sent. `started`, `ended` (seconds since the epoch) and `parameters` (temperature, top_p, max_new_tokens) are of an
    answer: Event.CHAT."""

    event: Event
    sides: Sequence[Side]
    voter: str
    at: float
    anonymous: bool = False
    battle: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0
    id: str = field(default_factory=lambda: secrets.token_hex(16))

    def row(self) -> dict[str, Any]:
        """As FastChat writes it."""
        about: dict[str, Any]
        if len(self.sides) == 2:
            about = _pair(self.sides, self.battle or self.id, self.anonymous)
        else:
            (side,) = self.sides
            about = {"model": side.model}
            if self.event is Event.CHAT:
                about |= {"gen_params": self.parameters, "start": _time(self.started), "finish": _time(self.ended)}
            about["state"] = _state(side, side.conv_id or _derived(self.battle or self.id, 0))
        row = {"tstamp": _time(self.at), "type": self.event.value, **about, "ip": self.voter}
        return {**row, "battle_id": self.battle} if self.battle else row


def new_battle_id() -> str:
    """128 random bits, so that nobody votes on another's battle by guessing."""
    return secrets.token_hex(16)


async def open_battle(bus: Bus, battle: Battle) -> None:
    """From now on, and for a day, there can be a vote on it. Repeat it with each turn, so that it lives on.

    Raises:
        Conflict: another battle has this id.
        BusUnavailable: Redis does not answer.
    """
    word = await bus.connection.call("qc1_battle_open", keys.battle(battle.id), battle.seal)
    if word != b"OK":
        raise Conflict("another battle has this id", param="battle")


async def cast(bus: Bus, battle: Battle, choice: Choice, now: float) -> Choice:
    """Count and log a vote on what the sides hold now. Answers the vote that the battle has: this choice, counted once
    however often it is cast, or an earlier one. `now` is in seconds since the epoch.

    Raises:
        BattleNotFound: it was never opened for this voter and these models, or is too old.
        BusUnavailable: Redis does not answer; try again.
    """
    row = vote_row(battle, choice, now)
    images = int(any(side.has_images for side in battle.sides))
    rated = () if battle.leaked else {side.model for side in battle.sides}
    args = (battle.seal, choice.value, orjson.dumps(row), images, keys.LINES, keys.VOTES, *sorted(rated))
    word, *had = await bus.connection.call("qc1_battle_vote", keys.battle(battle.id), *args)
    if word == b"MISSING":
        raise BattleNotFound("this battle is over a day old, or is not yours: start a new one", param="battle")
    return Choice(had[0].decode())


async def votes(bus: Bus) -> dict[str, int]:
    """How many votes each model has had; those that were told who is who are not counted.

    Raises:
        BusUnavailable: Redis does not answer.
    """
    counts = (await bus.connection.insist([("HGETALL", keys.VOTES)]))[0]
    return {model.decode(): int(count) for model, count in counts.items()}


async def record(bus: Bus, line: LogLine) -> None:
    """Log what happened.

    Raises:
        MemoryLow: Redis needs what memory it has for the answers that run.
        BusUnavailable: it does not answer; try again with the same line.
    """
    images = int(any(side.has_images for side in line.sides))
    args = (orjson.dumps(line.row()), images, keys.LINES, keys.LINE_MS)
    word = await bus.connection.call("qc1_line_add", keys.line(line.id), *args)
    if word == b"MEMORY":
        raise memory_low()


def vote_row(battle: Battle, choice: Choice, now: float) -> dict[str, Any]:
    """A vote as FastChat writes it."""
    about = _pair(battle.sides, battle.id, battle.anonymous)
    row = {"tstamp": _time(now), "type": choice.value, **about, "ip": battle.voter, "battle_id": battle.id}
    return {**row, "leaked": True} if battle.leaked else row


def _pair(sides: Sequence[Side], id: str, anonymous: bool) -> dict[str, Any]:
    """Empty names say that the voter did not know them."""
    return {
        "models": ["" if anonymous else side.model for side in sides],
        "states": [_state(side, side.conv_id or _derived(id, k)) for k, side in enumerate(sides)],
    }


def _state(side: Side, conv_id: str) -> dict[str, Any]:
    system = [_text(message.get("content")) for message in side.messages if message.get("role") == "system"]
    spoken = [message for message in side.messages if message.get("role") in ROLES]
    return {
        "template_name": "queuechat",
        "system_message": "\n\n".join(system),
        "roles": list(ROLES),
        "messages": [[message["role"], _said(message.get("content"))] for message in spoken],
        "offset": 0,
        "conv_id": conv_id,
        "model_name": side.model,
    }


def _said(content: Any) -> Any:
    """Text; with images, text and the MD5 of each; None when nothing was said."""
    images, text = _images(content), _text(content)
    if images:
        return [text, [hashlib.md5(url.encode(), usedforsecurity=False).hexdigest() for url in images]]
    return text or None


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text") or "" for part in content if part.get("type") == "text")
    return content or ""


def _images(content: Any) -> list[str]:
    """URLs of the images in a message."""
    parts = content if isinstance(content, list) else []
    return [str(part["image_url"]["url"]) for part in parts if part.get("type") == "image_url"]


def _derived(id: str, side: int) -> str:
    return hashlib.sha256(f"{id}/{side}".encode()).hexdigest()[:32]


def _time(at: float) -> float:
    return round(at, 4)
