"""What a key has left of a minute: paid ahead, settled at the end, filled again by time alone."""

from __future__ import annotations

from typing import Any

import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.credentials import Bearer
from queuechat.errors import RateLimited
from queuechat.rates import Rates, Standings

HALF_A_MINUTE = 30_000


async def spend(bus: Bus, key: str, id: str, tokens: int, *, rpm: int = 10, tpm: int = 600) -> list[int]:
    """ms to wait, requests left, ms until all are, tokens left, ms until all are."""
    answer: list[int] = await bus.connection.call("qc1_spend", keys.rate(key), rpm, tpm, id, tokens, 60_000)
    return answer


async def settle(bus: Bus, key: str, id: str, used: int, *, rpm: int = 10, tpm: int = 600) -> str:
    word: bytes = await bus.connection.call("qc1_settle", keys.rate(key), rpm, tpm, id, used)
    return word.decode()


async def pass_time(bus: Bus, key: str, ms: int) -> None:
    """As if the buckets had last been looked at so long ago."""
    at = int(await bus.connection.command("HGET", keys.rate(key), "at"))
    await bus.connection.command("HSET", keys.rate(key), "at", at - ms)


async def left(bus: Bus, key: str) -> tuple[float, float]:
    requests, tokens = await bus.connection.command("HMGET", keys.rate(key), "requests", "tokens")
    return float(requests), float(tokens)


async def test_a_request_pays_one_request_and_its_tokens(bus: Bus, model: str) -> None:
    wait, requests, _, tokens, full = await spend(bus, model, "a", 100)
    assert (wait, requests, tokens) == (0, 9, 500)
    assert full == pytest.approx(10_000, abs=50)


async def test_the_same_request_pays_once_though_the_answer_was_lost(bus: Bus, model: str) -> None:
    for _ in range(3):
        assert (await spend(bus, model, "a", 100))[0] == 0
    assert await left(bus, model) == (9, 500)


async def test_who_has_too_few_requests_or_tokens_left_waits_and_pays_nothing(bus: Bus, model: str) -> None:
    for number in range(2):
        await spend(bus, model, f"{number}", 1, rpm=2)
    wait, *_ = await spend(bus, model, "x", 1, rpm=2)
    assert wait == pytest.approx(HALF_A_MINUTE, abs=2_000)
    await spend(bus, model + "t", "a", 500)
    wait, requests, _, tokens, _ = await spend(bus, model + "t", "b", 200)
    assert wait == pytest.approx(10_000, abs=2_000)
    assert requests == 9
    assert tokens == pytest.approx(100, abs=20)
    assert await bus.connection.command("EXISTS", keys.rate(model + "t")[:-4] + "paid:b") == 0


async def test_time_alone_fills_what_was_spent_and_never_more(bus: Bus, model: str) -> None:
    await spend(bus, model, "a", 600)
    await pass_time(bus, model, HALF_A_MINUTE)
    assert (await spend(bus, model, "b", 300))[0] == 0
    await pass_time(bus, model, 10 * HALF_A_MINUTE)
    _, requests, _, tokens, _ = await spend(bus, model, "c", 0)
    assert (requests, tokens) == (9, 600)


async def test_what_was_paid_for_nothing_is_given_back_once(bus: Bus, model: str) -> None:
    await spend(bus, model, "a", 500)
    assert [await settle(bus, model, "a", 100) for _ in range(3)] == ["OK", "ALREADY", "ALREADY"]
    assert (await left(bus, model))[1] == pytest.approx(500, abs=20)


async def test_what_was_used_beyond_what_was_paid_is_owed(bus: Bus, model: str) -> None:
    await spend(bus, model, "a", 0)
    await settle(bus, model, "a", 900)
    assert (await left(bus, model))[1] == pytest.approx(-300, abs=20)
    wait, _, _, tokens, _ = await spend(bus, model, "b", 0)
    assert tokens == 0
    assert wait == pytest.approx(HALF_A_MINUTE, abs=2_000)


async def test_a_request_for_more_than_a_minute_gives_pays_with_a_full_bucket(bus: Bus, model: str) -> None:
    assert (await spend(bus, model, "a", 100_000))[0] == 0
    assert (await spend(bus, model, "b", 100_000))[0] == pytest.approx(60_000, abs=2_000)


async def test_nothing_is_kept_for_longer_than_it_means_anything(bus: Bus, model: str) -> None:
    await spend(bus, model, "a", 300)
    names = await bus.find_keys(f"qc:limit:{{{model}}}:*")
    assert len(names) == 2
    for name in names:
        assert 0 < await bus.connection.command("PTTL", name) <= 60_001


async def test_a_limit_that_was_changed_counts_from_then_on(bus: Bus, model: str) -> None:
    await spend(bus, model, "a", 0, rpm=1000)
    assert (await spend(bus, model, "b", 0, rpm=2))[1] == 1
    assert (await spend(bus, model, "c", 0, rpm=0, tpm=0))[0] == 0


async def paying(rates: Rates, key: str, used: int | None, **limits: Any) -> list[Standings]:
    """A request from its beginning to its end; what the key was told that it has left."""
    told: list[Standings] = []
    async with rates.paid(Bearer(key, **limits), "r", 50, 60, told.append, lambda: used):
        pass
    return told


async def test_a_key_without_limits_pays_nothing(bus: Bus, model: str) -> None:
    assert await paying(Rates(bus), model, 10, concurrency=3) == []
    assert await paying(Rates(bus), "", 10, rpm=1) == []
    assert await bus.find_keys(f"qc:limit:{{{model}}}:*") == []


async def test_a_request_that_goes_on_without_us_is_not_settled(bus: Bus, model: str) -> None:
    (told,) = await paying(Rates(bus), model, None, tpm=100)
    assert told.requests is None
    assert told.tokens
    assert (told.tokens.limit, told.tokens.left) == (100, 50)
    assert (await left(bus, model))[1] == pytest.approx(50, abs=5)


async def test_a_key_is_told_which_limit_it_has_met(bus: Bus, model: str) -> None:
    rates = Rates(bus)
    await paying(rates, model, 0, rpm=1)
    with pytest.raises(RateLimited, match="1 requests a minute") as refused:
        async with rates.paid(Bearer(model, rpm=1), "s", 0, 60, lambda _: None, lambda: 0):
            pass
    assert refused.value.retry_after == pytest.approx(60, abs=2)
    await spend(bus, model + "t", "a", 60, rpm=0, tpm=100)
    with pytest.raises(RateLimited, match=r"40 are left, and this request asks for up to 50; .*max_tokens"):
        async with rates.paid(Bearer(model + "t", tpm=100), "s", 50, 60, lambda _: None, lambda: 0):
            pass


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("10.0.0.1", "10.0.0.2", False), ("2001:db8::1", "2001:db8::ffff:1", True), ("2001:db8::1", "2001:db9::1", False)],
)
async def test_wrong_keys_are_counted_by_address(bus: Bus, one: str, other: str, same: bool) -> None:
    rates = Rates(bus)
    for name in await bus.find_keys("qc:limit:from:*"):
        await bus.connection.command("DEL", name)
    for _ in range(3):
        await rates.wrong_key(one, 3)
    with pytest.raises(RateLimited) as refused:
        await rates.wrong_key(one, 3)
    assert 0 < (refused.value.retry_after or 0) <= 60
    if same:
        with pytest.raises(RateLimited):
            await rates.wrong_key(other, 3)
    else:
        await rates.wrong_key(other, 3)
    await rates.wrong_key(one, 0)
    for name in await bus.find_keys("qc:limit:from:*"):
        await bus.connection.command("DEL", name)


async def test_only_who_has_paid_for_a_request_settles_it(bus: Bus, model: str) -> None:
    rates, told = Rates(bus), list[Standings]()

    def paid(payer: str, used: int) -> Any:
        return rates.paid(Bearer(model, tpm=600), "r", 500, 60, told.append, lambda: used, payer)

    async with paid("first", 400):
        async with paid("second", 0):
            pass
        assert (await left(bus, model))[1] == pytest.approx(100, abs=20)
    assert (await left(bus, model))[1] == pytest.approx(200, abs=20)
