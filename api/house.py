"""What all requests of one server share, and what is known of one request before it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request

from api.drain import Drain
from api.fetch.fetcher import Fetcher
from api.metrics import Metrics
from api.threads import Threads
from queuechat.allowance import Allowance
from queuechat.bus import Bus
from queuechat.bus.chores import Chores
from queuechat.client import Client
from queuechat.credentials import NOBODY, Bearer, KeyRing
from queuechat.files import FileStore
from queuechat.following import Following
from queuechat.rates import Rates
from queuechat.roster import Roster
from queuechat.settings import Settings


@dataclass(slots=True)
class House:
    """One per app; opened and closed by its lifespan."""

    settings: Settings
    bus: Bus
    client: Client
    roster: Roster
    keys: KeyRing
    allowance: Allowance
    rates: Rates
    following: Following
    metrics: Metrics = field(default_factory=Metrics)
    drain: Drain = field(default_factory=Drain)
    store: FileStore = field(kw_only=True)
    chores: Chores = field(kw_only=True)
    fetcher: Fetcher = field(kw_only=True)
    threads: Threads = field(default_factory=Threads, kw_only=True)


@dataclass(slots=True)
class Ticket:
    """One HTTP request: `id` is also the id of the job it may become, `name` what its sender calls it."""

    id: str
    name: str
    arrived: float
    bearer: Bearer = NOBODY  # whoever sends it
    headers: dict[str, str] = field(default_factory=dict)  # of its answer, whatever that is

    @property
    def tenant(self) -> str:
        return self.bearer.id


def house_of(request: Request) -> House:
    return cast(House, request.app.state.house)


def ticket_of(request: Request) -> Ticket:
    return cast(Ticket, request.scope["ticket"])
