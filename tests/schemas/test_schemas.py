"""Under a JSON Schema every answer that ends by itself is valid, at temperature 1 (at length: `-m tests.schemas`)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.schemas.generator import schema
from tests.schemas.judging import fault, judged
from tests.workers.engines.conftest import shallow, started
from tests.workers.engines.driver import Driver


@pytest.fixture
async def babbling() -> AsyncIterator[Driver]:
    """The first layers of a model: what it says makes no sense, so that nothing but the schema makes it valid."""
    driver = await started("shallow", shallow())
    yield driver
    await driver.close()


async def test_what_a_small_model_says_under_a_schema_is_valid(babbling: Driver) -> None:
    answers = await judged(babbling, range(6, 9))
    assert [answer for answer in answers if answer.fault] == []
    assert any(answer.reason == "stop" for answer in answers)


def test_the_judge_finds_faults() -> None:
    wanted = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert fault(wanted, '{"a": 1}') == ""
    assert "required" in fault(wanted, "{}")
    assert "JSON" in fault(wanted, '{"a": 1')


def test_schemas_come_from_their_seed_and_are_many() -> None:
    assert schema(7) == schema(7)
    assert len({str(schema(seed)) for seed in range(200)}) > 190
