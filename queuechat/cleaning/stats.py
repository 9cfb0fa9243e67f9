"""What there is in log files: how much was said and voted, on which models, when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from queuechat.cleaning.reading import Faults, in_order, read_rows
from queuechat.cleaning.schema import VOTES, Moment

HOUR_S = 3600


class _Named(BaseModel):
    model_name: str | None = None


class _Row(BaseModel):
    """What is counted of a line."""

    tstamp: Moment
    type: str
    model: str | None = None
    models: tuple[str | None, str | None] | None = None
    states: tuple[_Named, _Named] | None = None
    ip: str = ""

    def about(self) -> list[str]:
        """The models that it is about."""
        if self.states is None:
            return [self.model] if self.model else []
        named = zip(self.states, self.models or ("", ""), strict=True)
        return [name for state, shown in named if (name := state.model_name or shown)]

    @property
    def anonymous(self) -> bool:
        return self.models is not None and self.models[0] in ("", "Model A")


@dataclass(slots=True)
class Stats:
    """Counts by (hour since the epoch, type) and by (hour, model, type)."""

    lines: int = 0
    anonymous_votes: int = 0
    hours: Counter[tuple[int, str]] = field(default_factory=Counter)
    models: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    people: set[str] = field(default_factory=set)
    faults: Faults = field(default_factory=Faults)

    @property
    def newest(self) -> int:
        """The hour of the newest line."""
        return max((hour for hour, _ in self.hours), default=0)

    def as_json(self) -> dict[str, Any]:
        """`last_day` are the 24 hours up to that of the newest line. Days and hours are UTC; a vote counts for both
        models."""
        return {
            "lines": self.lines,
            "unreadable": self.faults.count,
            "people": len(self.people),
            "anonymous_votes": self.anonymous_votes,
            "actions": self.by_action(),
            "models": self.by_model(),
            "days": self.by_day(),
            "last_24_hours": self.by_hour(),
        }

    def by_action(self) -> list[dict[str, Any]]:
        recent = self.newest - 24
        every, lately = Counter[str](), Counter[str]()
        for (hour, type), count in self.hours.items():
            every[type] += count
            lately[type] += count * (hour > recent)
        return [{"type": type, "all": count, "last_day": lately[type]} for type, count in every.most_common()]

    def by_model(self) -> list[dict[str, Any]]:
        recent = self.newest - 24
        rows: dict[str, dict[str, Any]] = {}
        for (hour, model, type), count in sorted(self.models.items()):
            row = rows.setdefault(model, {"model": model, **dict.fromkeys(_COLUMNS, 0)})
            kind = _kind(type)
            row[kind] += count
            row[f"{kind}_last_day"] += count * (hour > recent)
        return sorted(rows.values(), key=lambda row: (-row["chats"] - row["votes"], row["model"]))

    def by_day(self) -> list[dict[str, Any]]:
        days: dict[str, Counter[str]] = {}
        for (hour, type), count in sorted(self.hours.items()):
            days.setdefault(_moment(hour).strftime("%Y-%m-%d"), Counter())[_kind(type)] += count
        return [{"day": day, **{kind: counts[kind] for kind in _KINDS}} for day, counts in days.items()]

    def by_hour(self) -> list[dict[str, Any]]:
        """The last 24, also those in which nothing was; none when there are no lines."""
        if not self.hours:
            return []
        counts = Counter[tuple[int, str]]()
        for (hour, type), count in self.hours.items():
            counts[hour, _kind(type)] += count
        return [
            {"from": _moment(hour).strftime("%Y-%m-%d %H:00"), **{kind: counts[hour, kind] for kind in _KINDS}}
            for hour in range(self.newest - 23, self.newest + 1)
        ]


_KINDS = ("chats", "votes", "other")
_COLUMNS = (*_KINDS, *(f"{kind}_last_day" for kind in _KINDS))


def take_stats(files: Iterable[Path]) -> Stats:
    """Raises OSError when a file cannot be read."""
    stats = Stats()
    for _, row in read_rows(in_order(files), _Row, None, stats.faults):
        hour = int(row.tstamp // HOUR_S)
        stats.lines += 1
        stats.hours[hour, row.type] += 1
        stats.anonymous_votes += row.type in VOTES and row.anonymous
        stats.people.add(row.ip)
        for model in row.about():
            stats.models[hour, model, row.type] += 1
    return stats


def _kind(type: str) -> str:
    if type in VOTES:
        return "votes"
    return "chats" if type == "chat" else "other"


def _moment(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * HOUR_S, UTC)
