"""Who is alive, which models there are, how deep the queues: a view over keys, holding no truth of its own."""

from __future__ import annotations

import contextlib
import difflib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from queuechat import keys
from queuechat.bus import Bus
from queuechat.bus.bus import depth_of
from queuechat.errors import ModelNotFound, NoWorker, QueuechatError
from queuechat.periodic import Periodic
from queuechat.protocol import Depth, ModelCard, WorkerCard

log = logging.getLogger(__name__)

C = TypeVar("C", ModelCard, WorkerCard)


@dataclass(frozen=True, slots=True)
class Model:
    """A model card with the workers that serve it now."""

    card: ModelCard
    workers: list[WorkerCard]

    @property
    def live(self) -> bool:
        return bool(self.workers)

    @property
    def status(self) -> str:
        states = {worker.state for worker in self.workers}
        return "no_worker" if not states else "ready" if "ready" in states else min(states)


def capabilities(card: ModelCard) -> list[str]:
    """What a model can be asked for, in one word each."""
    can = {
        "completion": card.generates,
        "chat": card.generates and card.chats,
        "tools": bool(card.tool_format),
        "json_schema": "json_schema" in card.grammars,
        "reasoning": bool(card.reasoning),
        "vision": card.vision,
        "fim": card.fim,
        "embeddings": card.embeds,
    }
    return [name for name, it_can in can.items() if it_can]


@dataclass(frozen=True, slots=True)
class Census:
    """All models that were served in the last day, by name."""

    models: dict[str, Model] = field(default_factory=dict)

    @property
    def live(self) -> list[Model]:
        return [model for model in self.models.values() if model.live]

    @property
    def workers(self) -> list[WorkerCard]:
        """Each once, whatever it serves."""
        return list({worker.id: worker for model in self.models.values() for worker in model.workers}.values())

    def find(self, name: str) -> Model | None:
        """The model of that name or alias; a live one before one that only has been."""
        if name in self.models and self.models[name].live:
            return self.models[name]
        named = [m for m in self.models.values() if name in m.card.aliases]
        return next((m for m in named if m.live), self.models.get(name) or next(iter(named), None))

    def names(self) -> list[str]:
        """Names and aliases of live models."""
        return sorted({name for model in self.live for name in (model.card.name, *model.card.aliases)})

    def resolve(self, name: str) -> Model:
        """The live model of that name or alias.

        Raises:
            ModelNotFound: nobody has served it; the message lists what there is and what may be meant.
            NoWorker: it is known, but nobody serves it now.
        """
        model = self.find(name)
        if model is None:
            raise ModelNotFound(self._unknown(name), param="model")
        if not model.live:
            raise NoWorker(f"no worker serves {name!r} now; start one with: queuechat worker --model …", retry_after=5)
        return model

    def _unknown(self, name: str) -> str:
        names = self.names()
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        there = f" Models served now: {', '.join(names[:20])}." if names else " No worker is running now."
        return f"The model {name!r} does not exist.{hint}{there}"


async def take_census(bus: Bus) -> Census:
    """Read the directories and all cards: two round trips."""
    since = int((time.time() - keys.MODEL_S) * 1000)
    names, ids = await bus.connection.insist(
        [("ZRANGEBYSCORE", key, since, "+inf") for key in (keys.MODELS, keys.WORKERS)]
    )
    wanted = [keys.model_card(n.decode()) for n in names] + [keys.worker_card(i.decode()) for i in ids]
    if not wanted:
        return Census()
    raws = await bus.connection.insist([("GET", key) for key in wanted])
    cards = list(_readable(ModelCard.decode, raws[: len(names)]))
    workers = list(_readable(WorkerCard.decode, raws[len(names) :]))
    return Census({card.name: Model(card, [w for w in workers if serves(w, card.name)]) for card in cards})


def serves(worker: WorkerCard, model: str) -> bool:
    """Whether a worker takes the jobs of a model."""
    return model == worker.model or model in worker.adapters


def _readable(decode: Callable[[bytes], C], raws: Iterable[bytes | None]) -> Iterator[C]:
    """The cards that this release can read; the others are of one that speaks another version."""
    for raw in raws:
        if raw is None:
            continue
        try:
            yield decode(raw)
        except (ValueError, TypeError) as error:
            log.warning("a card cannot be read: %s", error)


async def known_models(bus: Bus) -> list[str]:
    """Every model that ever had a worker: what is kept of it may live longer than its card."""
    rows = (await bus.connection.insist([("ZRANGEBYSCORE", keys.MODELS, "-inf", "+inf")]))[0]
    return [row.decode() for row in rows]


async def take_depths(bus: Bus, models: Iterable[str]) -> dict[str, Depth]:
    """The depth of each model's queues, in one round trip."""
    names = list(models)
    if not names:
        return {}
    rows = await bus.connection.insist([("FCALL", "qc1_depth", 1, keys.jobs(m), keys.DEPTH_MS) for m in names])
    return {name: depth_of(row) for name, row in zip(names, rows, strict=True)}


class Roster:
    """A census renewed each second, for processes that ask for it all the time."""

    def __init__(self, bus: Bus):
        self._bus = bus
        self.census = Census()
        self._beat = Periodic(self.refresh, "roster")

    async def __aenter__(self) -> Roster:
        with contextlib.suppress(QueuechatError):
            await self.refresh()
        await self._beat.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._beat.__aexit__()

    async def refresh(self) -> Census:
        self.census = await take_census(self._bus)
        return self.census

    async def resolve(self, name: str) -> Model:
        """As `Census.resolve`; a miss looks again before it is believed, so a worker that just came is found."""
        try:
            return self.census.resolve(name)
        except (ModelNotFound, NoWorker):
            return (await self.refresh()).resolve(name)
