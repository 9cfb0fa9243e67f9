"""What each key has had: added up in Redis as jobs end, by model and day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.errors import InvalidRequest
from queuechat.usage import By, Spent, days_since, summed, take_usage, total
from tests.contract.steps import a_job, buried, end, put, say, take

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def days_of(bus: Bus, model: str) -> list[str]:
    return [name.rpartition(":")[2] for name in await bus.find_keys(keys.spent(model, "*"))]


async def answered(bus: Bus, model: str, tenant: str, tokens: int) -> None:
    """A job of `tokens` tokens, three of them read."""
    await put(bus, a_job(model, tenant=tenant))
    (claim,) = await take(bus, model)
    if tokens:
        await say(bus, claim, tokens)
    await end(bus, claim, tokens)


async def test_each_end_is_added_to_what_its_key_has_had_that_day(bus: Bus, model: str) -> None:
    before = datetime.now(UTC).date()
    for tenant, tokens in (("ann", 5), ("bob", 2), ("ann", 0)):
        await answered(bus, model, tenant, tokens)
    days = await days_of(bus, model)
    assert {str(before), str(datetime.now(UTC).date())} >= set(days)
    rows = await take_usage(bus, [model], days)
    assert summed(rows, By.KEY) == [
        Spent("ann", requests=2, prompt_tokens=6, tokens=5),
        Spent("bob", requests=1, prompt_tokens=3, tokens=2),
    ]
    assert total(rows) == Spent(requests=3, prompt_tokens=9, tokens=7)
    assert summed(await take_usage(bus, [model], days, "bob"), By.MODEL) == [Spent("", model, "", 1, 3, 2)]
    assert await take_usage(bus, [model], days, "nobody") == []


async def test_a_redriven_job_is_counted_once_with_all_that_it_said(bus: Bus, model: str) -> None:
    job = await buried(bus, model, tokens=4)
    days = await days_of(bus, model)
    assert total(await take_usage(bus, [model], days)) == Spent(requests=1, tokens=4)
    letter = await bus.connection.command("HGET", keys.job(model, job.id), "letter")
    for _ in range(2):
        await bus.connection.call("qc1_redrive", keys.jobs(model), letter, job.id)
        assert await take_usage(bus, [model], days) == []
    (claim,) = await take(bus, model)
    await say(bus, claim, 6)
    for _ in range(2):
        await end(bus, claim, 6)
    assert total(await take_usage(bus, [model], await days_of(bus, model))) == Spent(
        requests=1, prompt_tokens=3, tokens=6
    )


async def test_sums_are_kept_for_longer_than_a_year_and_not_for_ever(bus: Bus, model: str) -> None:
    await answered(bus, model, "ann", 1)
    (day,) = await days_of(bus, model)
    assert 399 < await bus.connection.command("PTTL", keys.spent(model, day)) / 86_400_000 <= 400


@pytest.mark.parametrize(
    "day", ["1970-01-01", "2024-02-29", "2024-03-01", "2025-12-31", "2026-01-01", "2100-02-28", "2100-03-01"]
)
async def test_redis_knows_the_calendar(bus: Bus, model: str, day: str) -> None:
    """A dead letter's sums are taken off the day on which its job died."""
    job = await buried(bus, model)
    letter = await bus.connection.command("HGET", keys.job(model, job.id), "letter")
    late = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=23, minutes=59)
    await bus.connection.command("HSET", keys.job(model, job.id), "bill", f"{round(late.timestamp() * 1000)}-0")
    await bus.connection.call("qc1_redrive", keys.jobs(model), letter, job.id)
    assert await bus.connection.command("HGET", keys.spent(model, day), " requests") == b"-1"


@pytest.mark.parametrize(
    ("span", "days"),
    [
        ("1h", ["2026-03-01"]),
        ("12h", ["2026-03-01"]),
        ("24h", ["2026-02-28", "2026-03-01"]),
        ("2d", ["2026-02-27", "2026-02-28", "2026-03-01"]),
    ],
)
def test_a_span_counts_from_the_day_in_which_it_began(span: str, days: list[str]) -> None:
    assert days_since(span, NOON) == days


@pytest.mark.parametrize("span", ["", "24", "h", "0h", "-1d", "1w", "401d", "99999999999999h", "1 d"])
def test_what_is_no_span_is_refused(span: str) -> None:
    with pytest.raises(InvalidRequest, match="no span"):
        days_since(span, NOON)
