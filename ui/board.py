"""What all pages show of the fleet, looked up once a second for all of them."""

from __future__ import annotations

import logging

from queuechat.bus import Bus
from queuechat.errors import QueuechatError
from queuechat.periodic import Periodic
from queuechat.protocol import Depth, ModelCard
from queuechat.roster import Roster
from queuechat.watching import Watch, take_reading
from ui import wording

log = logging.getLogger(__name__)


class Board:
    """Live models, how busy they are and have been. Reading it costs nothing, however many pages are open."""

    def __init__(self, bus: Bus, roster: Roster, *, unlisted: str = ""):
        """The model `unlisted` (a guard) is not offered to anybody."""
        self._bus = bus
        self._unlisted = unlisted
        self._roster = roster
        self._beat = Periodic(self.refresh, "board")
        self.watch = Watch()
        self.away = False

    async def __aenter__(self) -> Board:
        await self.refresh()
        await self._beat.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._beat.__aexit__()

    @property
    def models(self) -> list[str]:
        """Names of live models that chat."""
        return sorted(card.name for card in self._listed)

    def named(self, name: str) -> str | None:
        """The live model of that name or alias."""
        model = self._roster.census.find(name)
        return model.card.name if model and model.live else None

    @property
    def depths(self) -> dict[str, Depth]:
        """The queues of every model of the last day."""
        return self.watch.latest.depths if self.watch.latest else {}

    @property
    def seers(self) -> list[str]:
        """Names of those that take images."""
        return sorted(card.name for card in self._listed if card.vision)

    @property
    def _listed(self) -> list[ModelCard]:
        chatting = (model.card for model in self._roster.census.live if model.card.chats)
        return [card for card in chatting if self._unlisted not in (card.name, *card.aliases)]

    @property
    def status(self) -> str:
        """The header's line."""
        if self.away:
            return wording.NO_REDIS
        depths = self.depths.values()
        waiting, running = sum(d.waiting + d.bulk_waiting for d in depths), sum(d.running for d in depths)
        return wording.status_line(self._roster.census, waiting, running)

    async def refresh(self) -> None:
        try:
            self.watch.add(await take_reading(self._bus, self._roster.census))
            self.away = False
        except QueuechatError as error:
            if not self.away:
                log.warning("cannot see the queues: %s", error)
            self.away = True
