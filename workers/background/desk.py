"""What all chores of one background process share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from queuechat.bus import Bus
from queuechat.bus.chores import Chores
from queuechat.client import Client
from queuechat.files import FileStore
from queuechat.roster import Roster


@dataclass(frozen=True, slots=True)
class Rating:
    """When and how votes are rated: every so many seconds (0: never), by settings of `queuechat leaderboard build`."""

    every_s: float = 0.0
    rounds: int = 100
    categories: Path | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """One per process. `parts` is the folder for results of batches that still run; all processes share it.
    `line_limit` is for bytes of a request. `arena` is the folder of the log files of votes and conversations."""

    bus: Bus
    chores: Chores
    client: Client
    roster: Roster
    store: FileStore
    parts: Path
    window: int
    reasoning_field: str
    line_limit: int
    arena: Path
    rating: Rating = Rating()
