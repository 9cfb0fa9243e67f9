"""The duels of all open pages. Their models' names stay in this process: a browser knows a duel by its id alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator

from ui.duel.duel import Duel

_ROOM = 2000  # duels; the one that was left alone for longest makes place
_OWN = 20  # of them one person's; the same holds among these


class Tables:
    """Duels by id, and who is being answered."""

    def __init__(self, room: int = _ROOM):
        self._room = room
        self._duels: OrderedDict[str, Duel] = OrderedDict()
        self._answering: dict[str, asyncio.Event] = {}

    def get(self, id: object) -> Duel | None:
        """The duel of that id, as a browser told it; None when it is not known (any more)."""
        if not isinstance(id, str) or id not in self._duels:
            return None
        self._duels.move_to_end(id)
        return self._duels[id]

    def put(self, duel: Duel) -> Duel:
        if duel.id not in self._duels:
            self._make_place(duel.voter)
        self._duels[duel.id] = duel
        self._duels.move_to_end(duel.id)
        return duel

    def _make_place(self, voter: str) -> None:
        own = [id for id, duel in self._duels.items() if duel.voter == voter]
        for id in own[: len(own) + 1 - _OWN] if len(own) >= _OWN else []:
            del self._duels[id]
        while len(self._duels) >= self._room:
            self._duels.popitem(last=False)

    def change(self, id: str, to: Callable[[Duel], Duel]) -> Duel | None:
        """The duel as `to` makes it of what it is now; None when its page has left it."""
        duel = self._duels.get(id)
        return None if duel is None else self.put(to(duel))

    def drop(self, id: object) -> None:
        """Its page has left it; harmless when there is none."""
        if isinstance(id, str):
            self._duels.pop(id, None)

    def answering(self, id: str) -> bool:
        return id in self._answering

    @contextlib.contextmanager
    def turn(self, id: str) -> Iterator[None]:
        """While its sides are answering; one turn at a time."""
        assert id not in self._answering
        over = self._answering[id] = asyncio.Event()
        try:
            yield
        finally:
            del self._answering[id]
            over.set()

    async def at_rest(self, id: str, patience_s: float) -> bool:
        """Whether nobody is answering it, at once or soon: a page that is opened anew waits for its own past."""
        over = self._answering.get(id)
        if over is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), patience_s)
        return id not in self._answering
