"""How fast a provider may be asked: requests and tokens a minute, and not at all while it told us to wait."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_WINDOW_S = 60.0


@dataclass(slots=True)
class Spent:
    """One request of the last minute; `tokens` is a guess until its answer tells."""

    at: float
    tokens: int


class Pace:
    """Counts what began in any 60 seconds. None is no limit."""

    def __init__(self, rpm: int | None, tpm: int | None, clock: Callable[[], float] = time.monotonic):
        self._rpm, self._tpm, self._clock = rpm, tpm, clock
        self._spent: deque[Spent] = deque()
        self._held_until = 0.0

    def room(self) -> int:
        """How many requests more may begin now. What each will cost is not known before it is here: under a limit of
        tokens they come one at a time."""
        now = self._clock()
        while self._spent and self._spent[0].at <= now - _WINDOW_S:
            self._spent.popleft()
        if now < self._held_until:
            return 0
        room = sys.maxsize if self._rpm is None else max(self._rpm - len(self._spent), 0)
        if self._tpm is None:
            return room
        return min(room, 1) if sum(spent.tokens for spent in self._spent) < self._tpm else 0

    def begin(self, tokens: int) -> Spent:
        """A request goes out that will cost about so many tokens; what it did cost may be written into the result."""
        spent = Spent(self._clock(), tokens)
        self._spent.append(spent)
        return spent

    def hold(self, seconds: float) -> None:
        """Nothing more for so long: the provider has said so."""
        self._held_until = max(self._held_until, self._clock() + seconds)
