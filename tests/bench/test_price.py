"""The price of the queue: an engine alone, and the same behind a worker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from queuechat.bench.price import Bare, Price
from queuechat.bench.workload import Ask
from queuechat.errors import Misconfigured
from tests.cli.command import Cli
from workers.models import resolve


async def test_an_engine_is_driven_alone_and_behind_a_queue_in_turn(cli: Cli) -> None:
    found = await cli.json(
        *("bench", "price", "--model", "echo", "-n", "8", "-c", "4", "--output-len", "16", "--rounds", "2")
    )
    rounds = found["rounds"]
    assert [len(rounds[name]) for name in ("bare", "queued")] == [2, 2]
    assert all(value > 0 for row in rounds.values() for value in row)
    assert found["ratio"] == Price(rounds["bare"], rounds["queued"]).ratio > 0


async def test_what_an_engine_alone_does_is_bounded_by_its_own_speed() -> None:
    async with Bare.running(resolve("echo", echo_rate=200.0)) as bare:
        assert 0 < await bare.run([Ask("hi", 20)] * 4, 4, 0.0) <= 4 * 200 * 1.25


async def test_an_engine_that_cannot_be_built_is_told_of() -> None:
    with pytest.raises(Misconfigured, match="has ended"):
        async with Bare.running(replace(resolve("echo"), engine="llamacpp", source="/nowhere.gguf")):
            pass


def test_the_price_is_the_median_of_the_rounds() -> None:
    assert Price([100, 50, 200], [99, 40, 300]).ratio == pytest.approx(0.99)
