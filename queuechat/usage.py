"""What each API key has had: requests and tokens by model and day, as Redis adds them up at the end of each job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import product

from queuechat import keys
from queuechat.bus import Bus
from queuechat.errors import InvalidRequest

MOST_DAYS = 400  #: for so long it is kept
_COUNTS = ("requests", "prompt_tokens", "tokens")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}
_SPAN = re.compile(r"([1-9]\d{0,4})([hd])")


class By(StrEnum):
    """What sums are made by."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Spent:
    """What was had: by one key, of one model, on one day (UTC, as 2026-11-21); "" where it is a sum over all of them.

    `tokens` were written, `prompt_tokens` read. A job (one choice of an answer) counts as a request.
    """

    key: str = ""
    model: str = ""
    day: str = ""
    requests: int = 0
    prompt_tokens: int = 0
    tokens: int = 0


def days_since(span: str, now: datetime) -> list[str]:
    """The days (UTC) of which any part lies within a span that ends now, oldest first.

    Raises:
        InvalidRequest: the span is not hours or days, as 24h or 30d, of at most 400 days.
    """
    match = _SPAN.fullmatch(span)
    length = int(match[1]) * _UNITS[match[2]] if match else None
    if length is None or length.days > MOST_DAYS:
        raise InvalidRequest(f"{span[:20]!r} is no span like 24h or 30d, of at most {MOST_DAYS} days", param="since")
    last, first = now.astimezone(UTC).date(), (now.astimezone(UTC) - length).date()
    return [str(first + timedelta(days=k)) for k in range((last - first).days + 1)]


async def take_usage(bus: Bus, models: Iterable[str], days: Sequence[str], key: str | None = None) -> list[Spent]:
    """What was had of these models on these days, by one key or (None) by each, oldest first."""
    places = list(product(days, models))
    if not places:
        return []
    if key is None:
        answers = await bus.connection.insist([("HGETALL", keys.spent(model, day)) for day, model in places])
    else:
        own = [f"{key} {count}" for count in _COUNTS]
        rows = await bus.connection.insist([("HMGET", keys.spent(model, day), *own) for day, model in places])
        answers = [[part for pair in zip(own, row, strict=True) if pair[1] for part in pair] for row in rows]
    found = [spent for place, answer in zip(places, answers, strict=True) for spent in _spent(*place, answer)]
    return [one for one in found if one.requests]


def summed(rows: Iterable[Spent], by: By) -> list[Spent]:
    """The sums of all that share a day, a model or a key, in the order of its names."""
    sums: dict[str, Spent] = {}
    for row in rows:
        name = getattr(row, by)
        sums[name] = _plus(sums.get(name, Spent(**{str(by): name})), row)
    return [sums[name] for name in sorted(sums)]


def total(rows: Iterable[Spent]) -> Spent:
    """The sum of all."""
    found = Spent()
    for row in rows:
        found = _plus(found, row)
    return found


def _plus(one: Spent, other: Spent) -> Spent:
    counts = {count: getattr(one, count) + getattr(other, count) for count in _COUNTS}
    return Spent(one.key, one.model, one.day, **counts)


def _spent(day: str, model: str, answer: list[bytes | str] | dict[bytes, bytes]) -> list[Spent]:
    """One row for each key of a hash."""
    flat = [part for pair in answer.items() for part in pair] if isinstance(answer, dict) else answer
    counts: dict[str, dict[str, int]] = {}
    for field, value in zip(flat[::2], flat[1::2], strict=True):
        key, _, count = (field.decode() if isinstance(field, bytes) else field).rpartition(" ")
        counts.setdefault(key, {})[count] = int(value)
    return [Spent(key, model, day, **row) for key, row in sorted(counts.items())]
