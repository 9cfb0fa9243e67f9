"""What the three tables show: of each column its name, a cell's text, what to sort by, and what room it needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from queuechat.cli.tables import span
from queuechat.timeline import Timeline, standing
from queuechat.watching import Hand, Sight, spread

R = TypeVar("R")

_BARS = "▁▂▃▄▅▆▇█"
_SPARK, _SPARK_S = 24, 120.0


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """`rank` is what rows are sorted by: numbers from the greatest, words from A. Shown where the terminal has at least
    `room` columns."""

    title: str
    text: Callable[[R], str]
    rank: Callable[[R], float | str]
    room: int = 0

    def sorted(self, rows: Sequence[R], turned: bool) -> list[R]:
        """The rows in the order of this column; equal ones stay as they were."""
        descending = bool(rows) and not isinstance(self.rank(rows[0]), str)
        return sorted(rows, key=self.rank, reverse=descending != turned)


def rate(per_s: float | None) -> str:
    """Of jobs or tokens a second."""
    if per_s is None:
        return "?"
    return f"{per_s:.1f}" if 0 < per_s < 100 else f"{per_s:.0f}"


def bars(values: Sequence[float | None]) -> str:
    """A line of blocks, the greatest value being the highest; blank where nothing is known."""
    top = max((value for value in values if value is not None), default=0.0)
    scale = (len(_BARS) - 1) / top if top else 0.0
    return "".join(" " if value is None else _BARS[round(value * scale)] for value in values)


def _load(hand: Hand) -> str:
    card, cells = hand.card, 10
    taken = round(card.running / card.capacity * cells) if card.capacity else 0
    return f"{'█' * min(taken, cells):░<{cells}} {card.running}/{card.capacity}"


def _eta(sight: Sight) -> str:
    if not sight.model.live:
        return "-"
    return "?" if sight.depth.eta_s is None else f"{sight.depth.eta_s:.1f}s"


MODELS: list[Column[Sight]] = [
    Column("MODEL", lambda s: s.name, lambda s: s.name),
    Column("STATE", lambda s: s.model.status.replace("_", " "), lambda s: s.model.status, 90),
    Column("WAITING", lambda s: f"{s.depth.waiting}", lambda s: s.depth.waiting),
    Column("RUNNING", lambda s: f"{s.depth.running}", lambda s: s.depth.running),
    Column("BATCH", lambda s: f"{s.depth.bulk_waiting}", lambda s: s.depth.bulk_waiting, 100),
    Column("OLDEST", lambda s: span(s.depth.oldest_ms / 1000), lambda s: s.depth.oldest_ms),
    Column("ETA", _eta, lambda s: s.depth.eta_s or 0.0, 80),
    Column("CAME/S", lambda s: rate(s.now.came_per_s), lambda s: s.now.came_per_s or 0.0),
    Column("ENDED/S", lambda s: rate(s.ended_per_s), lambda s: s.ended_per_s),
    Column("TOK/S", lambda s: rate(s.now.tokens_per_s), lambda s: s.now.tokens_per_s),
    Column(
        "TOK/S, 2 MIN",
        lambda s: bars(spread(s.past, lambda moment: moment.tokens_per_s, _SPARK_S, _SPARK)),
        lambda s: s.now.tokens_per_s,
        125,
    ),
    Column("DEAD", lambda s: f"{s.depth.dead}", lambda s: s.depth.dead),
    Column("WORKERS", lambda s: f"{len(s.model.workers)}", lambda s: len(s.model.workers), 110),
]

WORKERS: list[Column[Hand]] = [
    Column("WORKER", lambda h: h.card.id, lambda h: h.card.id),
    Column("MODEL", lambda h: ", ".join((h.card.model, *h.card.adapters)), lambda h: h.card.model),
    Column("STATE", lambda h: h.card.state, lambda h: h.card.state),
    Column("LOAD", _load, lambda h: h.card.running / (h.card.capacity or 1)),
    Column("TOK/S", lambda h: rate(h.card.tokens_per_s), lambda h: h.card.tokens_per_s),
    Column(
        "TOK/S, 2 MIN",
        lambda h: bars(spread(h.past, lambda breath: breath.tokens_per_s, _SPARK_S, _SPARK)),
        lambda h: h.card.tokens_per_s,
        125,
    ),
    Column("ENGINE", lambda h: f"{h.card.engine} {h.card.device}", lambda h: h.card.engine, 100),
    Column("UP", lambda h: span(time.time() - h.card.started / 1000), lambda h: -h.card.started, 90),
    Column("RESTARTS", lambda h: f"{h.card.restarts}", lambda h: h.card.restarts, 110),
]

JOBS: list[Column[Timeline]] = [
    Column("JOB", lambda j: j.id, lambda j: j.id),
    Column("STATE", standing, standing),
    Column("AGE", lambda j: span(time.time() - j.queued), lambda j: -j.queued),
    Column("TOKENS", lambda j: f"{j.tokens}", lambda j: j.tokens),
    Column("TAKEN", lambda j: f"{j.epoch}x", lambda j: j.epoch, 90),
    Column("WORKER", lambda j: j.worker if j.owned else "", lambda j: j.worker, 80),
    Column("TENANT", lambda j: j.tenant, lambda j: j.tenant, 110),
]
