"""What is recorded of a duel: that it was opened, its answers, its vote, that it was shared."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any

from queuechat import battles
from queuechat.battles import BattleNotFound, Choice, Event, LogLine
from queuechat.bus import Bus
from queuechat.errors import QueuechatError
from ui.duel.duel import SIDES, Duel
from ui.talk.exchange import Options

log = logging.getLogger(__name__)


async def opened(bus: Bus, duel: Duel) -> None:
    """There can be a vote on it from now on. What fails here is made good at the vote."""
    try:
        await battles.open_battle(bus, duel.battle())
    except QueuechatError as error:
        log.warning("a battle could not be opened: %s", error)


async def vote(bus: Bus, duel: Duel, choice: Choice) -> Choice:
    """The vote that the duel has: this choice, or an earlier one. It counts once, however often it is sent.

    Raises:
        QueuechatError: it is not known to be counted; vote again.
    """
    battle, now = duel.battle(), time.time()
    try:
        return await battles.cast(bus, battle, choice, now)
    except BattleNotFound:  # Redis was away when it was opened, or it is older than a day
        await battles.open_battle(bus, battle)
        return await battles.cast(bus, battle, choice, now)


async def answered(bus: Bus, duel: Duel, sides: Sequence[int], options: Options, began: float) -> None:
    """The answers of these sides; those that failed are none. `began` is in seconds since the epoch."""
    said: dict[str, Any] = {
        "temperature": options.temperature,
        "top_p": options.top_p,
        "max_new_tokens": options.max_tokens,
    }
    for side in sides:
        if side not in duel.failed:
            await _record(bus, duel, [side], Event.CHAT, parameters=said, started=began)


async def shared(bus: Bus, duel: Duel) -> None:
    """Once for each state of a duel, however often it is shared."""
    said = f"{duel.id} {len(duel.talks[0])} {duel.choice}"
    await _record(bus, duel, SIDES, Event.SHARE, id=hashlib.sha256(said.encode()).hexdigest()[:32])


async def _record(
    bus: Bus,
    duel: Duel,
    sides: Sequence[int],
    event: Event,
    parameters: dict[str, Any] | None = None,
    started: float = 0.0,
    id: str = "",
) -> None:
    now = time.time()
    line = LogLine(
        event,
        [duel.side(side) for side in sides],
        duel.voter,
        now,
        anonymous=duel.hidden,
        battle=duel.id,
        parameters=parameters or {},
        started=started,
        ended=now,
        id=id or secrets.token_hex(16),
    )
    try:
        await battles.record(bus, line)
    except QueuechatError as error:
        log.warning("a line of the arena's log is lost: %s", error)
