"""What somebody at the keys has chosen: pane, row, order, and the question that waits for a yes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Any

from queuechat.cli.top.columns import JOBS, MODELS, WORKERS, Column
from queuechat.timeline import Timeline
from queuechat.watching import Hand, Sight


class Pane(IntEnum):
    """The tables, in the order of the screen."""

    MODELS = 0
    WORKERS = 1
    JOBS = 2


COLUMNS: dict[Pane, list[Column[Any]]] = {Pane.MODELS: MODELS, Pane.WORKERS: WORKERS, Pane.JOBS: JOBS}
_NAMES: dict[Pane, Callable[[Any], str]] = {
    Pane.MODELS: lambda sight: sight.name,
    Pane.WORKERS: lambda hand: hand.card.id,
    Pane.JOBS: lambda job: job.id,
}
HELP = "q quit · Tab table · ↑↓ row · ←→ sort · r turn round · c cancel job · d drain worker"


@dataclass(frozen=True, slots=True)
class Deed:
    """What is to be done after a yes."""

    what: str  #: cancel or drain
    model: str
    id: str
    question: str


@dataclass(slots=True)
class Order:
    """By which column a table is sorted (None: as it came), and whether the other way round."""

    by: int | None = None
    turned: bool = False


@dataclass(slots=True)
class Choices:
    """`rows` are what the tables hold now, in the order of the screen."""

    pane: Pane = Pane.MODELS
    orders: dict[Pane, Order] = field(default_factory=lambda: {pane: Order() for pane in Pane})
    rows: dict[Pane, Sequence[Any]] = field(default_factory=lambda: {pane: [] for pane in Pane})
    named: dict[Pane, str] = field(default_factory=dict)  #: who is chosen; rows move, and take the choice along
    asked: Deed | None = None
    said: str = ""
    ended: bool = False

    def show(self, pane: Pane, rows: Sequence[Any]) -> None:
        """Take over what a table holds now."""
        order = self.orders[pane]
        self.rows[pane] = rows if order.by is None else COLUMNS[pane][order.by].sorted(rows, order.turned)

    def place(self, pane: Pane) -> int:
        """Where the chosen row is: the first when who was chosen has gone, -1 in an empty table."""
        names = [_NAMES[pane](row) for row in self.rows[pane]]
        if not names:
            return -1
        return names.index(self.named[pane]) if self.named.get(pane) in names else 0

    def chosen(self, pane: Pane) -> Any:
        """The chosen row, or None in an empty table."""
        place = self.place(pane)
        return None if place < 0 else self.rows[pane][place]

    def press(self, key: str) -> Deed | None:
        """Take one key; a deed comes back once it was asked for and said yes to."""
        if self.asked:
            return self._answer(key)
        self.said = ""
        act = self._acts().get(key)
        if act:
            act()
        else:
            self.said = HELP
        return None

    def _acts(self) -> dict[str, Callable[[], None]]:
        pairs: list[tuple[tuple[str, ...], Callable[[], None]]] = [
            (("q", "escape", "end of input"), self._end),
            (("tab",), partial(self._turn_to, 1)),
            (("shift-tab",), partial(self._turn_to, -1)),
            (("up", "k"), partial(self._move, -1)),
            (("down", "j"), partial(self._move, 1)),
            (("right", ">", "s"), partial(self._sort, 1)),
            (("left", "<"), partial(self._sort, -1)),
            (("r",), self._turn_round),
            (("c",), self._ask_cancel),
            (("d",), self._ask_drain),
        ]
        return {name: act for names, act in pairs for name in names}

    def _end(self) -> None:
        self.ended = True

    def _turn_to(self, by: int) -> None:
        self.pane = Pane((self.pane + by) % len(Pane))

    def _turn_round(self) -> None:
        self.orders[self.pane].turned = not self.orders[self.pane].turned

    def _answer(self, key: str) -> Deed | None:
        deed, self.asked = self.asked, None
        if key in ("y", "Y"):
            return deed
        self.said = "nothing was done"
        return None

    def _move(self, by: int) -> None:
        place, rows = self.place(self.pane), self.rows[self.pane]
        if place >= 0:
            self.named[self.pane] = _NAMES[self.pane](rows[min(max(place + by, 0), len(rows) - 1)])

    def _sort(self, by: int) -> None:
        order, count = self.orders[self.pane], len(COLUMNS[self.pane])
        order.by = (by - 1 if by > 0 else -1) % count if order.by is None else (order.by + by) % count
        order.turned = False

    def _ask_cancel(self) -> None:
        job: Timeline | None
        if self.pane is Pane.JOBS:
            job, which = self.chosen(Pane.JOBS), ""
        elif self.pane is Pane.MODELS:
            job, which = min(self.rows[Pane.JOBS], key=lambda one: one.queued, default=None), "the oldest job, "
        else:
            self.said = "choose a model or a job first: Tab"
            return
        if job is None:
            self.said = "there is no job to cancel"
            return
        question = f"Cancel {which}{job.id} of {job.model} ({job.state}, {job.tokens} tokens)? y/n"
        self.asked = Deed("cancel", job.model, job.id, question)

    def _ask_drain(self) -> None:
        hand: Hand | None = self.chosen(Pane.WORKERS) if self.pane is Pane.WORKERS else None
        if hand is None:
            self.said = "choose a worker first: Tab"
            return
        card = hand.card
        question = f"Drain {card.id} of {card.model} ({card.running} running)? It takes nothing new, and stops. y/n"
        self.asked = Deed("drain", card.model, card.id, question)


def model_of(choices: Choices) -> str | None:
    """The model whose jobs are listed."""
    sight: Sight | None = choices.chosen(Pane.MODELS)
    return sight.name if sight else None
