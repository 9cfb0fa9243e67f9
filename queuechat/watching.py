"""How every model and every worker fares, and has fared for some minutes.

Whoever shows it takes a reading once a second, however many look on. Redis itself counts what comes to a stream, so
nothing is written for this, and what came and went between two readings is counted all the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from queuechat import keys
from queuechat.bus import Bus
from queuechat.bus.bus import depth_of
from queuechat.letters import Letter, list_letters
from queuechat.protocol import Depth, WorkerCard
from queuechat.roster import Census, Model

HISTORY_S = 300.0  #: for so long a Watch remembers
WINDOW_S = 10.0  #: rates are over so long, or over what there is so far
LETTERS = 5  #: of each model the newest so many

P = TypeVar("P", bound="Breath")


@dataclass(frozen=True, slots=True)
class Flow:
    """How many jobs have ever come to a model's queues, and how many have ended."""

    came: int = 0
    ended: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What was there at one moment; `at` in seconds of a clock that only goes forward."""

    at: float
    census: Census = field(default_factory=Census)
    depths: dict[str, Depth] = field(default_factory=dict)
    flows: dict[str, Flow] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Breath:
    """A moment in the past of a worker: what it ran, and the tokens that it wrote each second."""

    at: float
    running: int
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class Moment(Breath):
    """A moment in the past of a model. Rates are jobs a second; None where there was nothing to compare with."""

    waiting: int
    flow: Flow
    came_per_s: float | None
    ended_per_s: float | None


@dataclass(frozen=True, slots=True)
class Sight:
    """A model as it is now, with its past (oldest first, the last is now) and its newest dead letters."""

    model: Model
    depth: Depth
    past: Sequence[Moment]
    letters: Sequence[Letter]

    @property
    def name(self) -> str:
        return self.model.card.name

    @property
    def now(self) -> Moment:
        return self.past[-1]

    @property
    def ended_per_s(self) -> float:
        """As counted, or at the first reading over the last jobs that ended."""
        return self.depth.finished_per_s if self.now.ended_per_s is None else self.now.ended_per_s


@dataclass(frozen=True, slots=True)
class Hand:
    """A worker as it is now, with its past."""

    card: WorkerCard
    past: Sequence[Breath]


async def take_reading(bus: Bus, census: Census) -> Reading:
    """Two commands a model in one round trip, and one more for each model that has dead letters.

    Raises:
        BusUnavailable: Redis does not answer.
    """
    names = sorted(census.models)
    commands: list[tuple[object, ...]] = []
    for name in names:
        commands.append(("FCALL", "qc1_depth", 1, keys.jobs(name), keys.DEPTH_MS))
        commands.append(("FCALL", "qc1_flow", 1, keys.jobs(name)))
    # An empty answer proves nothing about Redis, so something is asked even when there is no model.
    rows = await bus.connection.insist(commands or [("PING",)])
    depths = {name: depth_of(row) for name, row in zip(names, rows[::2], strict=False)}
    flows = {name: Flow(*map(int, row)) for name, row in zip(names, rows[1::2], strict=False)}
    letters = [one for name in names if depths[name].dead for one in await list_letters(bus, [name], LETTERS)]
    return Reading(time.monotonic(), census, depths, flows, letters)


class Watch:
    """Readings, put together. Asking it costs nothing."""

    def __init__(self, span_s: float = HISTORY_S, window_s: float = WINDOW_S):
        self._span_s, self._window_s = span_s, window_s
        self._models: dict[str, deque[Moment]] = {}
        self._workers: dict[str, deque[Breath]] = {}
        self.latest: Reading | None = None

    def add(self, reading: Reading) -> None:
        """Take the next reading into account; what is no longer known is forgotten."""
        self.latest = reading
        cards = {card.id: card for card in reading.census.workers}
        self._models = {name: self._models.get(name, deque()) for name in reading.depths}
        self._workers = {id: self._workers.get(id, deque()) for id in cards}
        for name, past in self._models.items():
            self._append(past, _moment(reading, name, past, self._window_s))
        for id, breaths in self._workers.items():
            self._append(breaths, Breath(reading.at, cards[id].running, cards[id].tokens_per_s))

    def _append(self, past: deque[P], moment: P) -> None:
        past.append(moment)
        while past[0].at < moment.at - self._span_s:
            past.popleft()

    @property
    def models(self) -> list[Sight]:
        """Every model of the last day by name: those that are served or have work first."""
        seen = self.latest
        if seen is None:
            return []
        sights = [
            Sight(seen.census.models[name], seen.depths[name], past, [one for one in seen.letters if one.model == name])
            for name, past in self._models.items()
        ]
        return sorted(sights, key=lambda sight: (not _matters(sight), sight.name))

    @property
    def workers(self) -> list[Hand]:
        """Every live worker by model and id."""
        cards = self.latest.census.workers if self.latest else []
        return [Hand(card, self._workers[card.id]) for card in sorted(cards, key=lambda card: (card.model, card.id))]


def _matters(sight: Sight) -> bool:
    depth = sight.depth
    return sight.model.live or bool(depth.waiting or depth.running or depth.bulk_waiting)


def _moment(reading: Reading, name: str, past: Sequence[Moment], window_s: float) -> Moment:
    depth, flow = reading.depths[name], reading.flows[name]
    before = next((old for old in past if old.at >= reading.at - window_s), past[-1] if past else None)
    came = ended = None
    if before and before.at < reading.at and before.flow.came <= flow.came and before.flow.ended <= flow.ended:
        over_s = reading.at - before.at
        came, ended = (flow.came - before.flow.came) / over_s, (flow.ended - before.flow.ended) / over_s
    speed = sum(worker.tokens_per_s for worker in reading.census.models[name].workers)
    return Moment(reading.at, depth.running, speed, depth.waiting, flow, came, ended)


def spread(past: Sequence[P], value: Callable[[P], float | None], span_s: float, count: int) -> list[float | None]:
    """The past over `span_s` until now as `count` means of equal intervals, oldest first; None where nothing is known.

    Intervals begin where the clock says, not where the last reading lies: only the newest one changes as time goes on.
    """
    parts: list[list[float]] = [[] for _ in range(count)]
    width_s = span_s / count
    for moment in past:
        place = count - 1 - int(past[-1].at // width_s - moment.at // width_s)
        known = value(moment)
        if known is not None and place >= 0:
            parts[place].append(known)
    return [sum(part) / len(part) if part else None for part in parts]
