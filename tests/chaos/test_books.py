"""The audit finds what is wrong in a real Redis: true books, doctored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.protocol import End, Job, Reason, new_id
from tests.chaos import books

Doctor = Callable[[Bus, str, str], Awaitable[object]]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is left: there is nobody to wait for."""
    monkeypatch.setattr(books, "DRAINED_S", 0.5)


async def a_finished_job(bus: Bus, model: str) -> str:
    job = Job(new_id(), model, prompt="hello")
    await bus.enqueue([job], limit=0, grace_s=0)
    await bus.claim(model, "w", "w/1", room=1)
    await bus.finish(model, [(job.id, "w/1", End(Reason.LENGTH))])
    return job.id


async def bill_again(bus: Bus, model: str, id: str) -> None:
    await bus.connection.command("XADD", keys.usage(model), "*", "id", id, "reason", "length", "tokens", 0)


async def tear_up_the_bill(bus: Bus, model: str, id: str) -> None:
    await bus.connection.command("DEL", keys.usage(model))


async def overcharge(bus: Bus, model: str, id: str) -> None:
    await tear_up_the_bill(bus, model, id)
    await bus.connection.command("XADD", keys.usage(model), "*", "id", id, "reason", "length", "tokens", 9)


async def bill_nobody(bus: Bus, model: str, id: str) -> None:
    await bus.connection.command("XADD", keys.usage(model), "*", "id", "x", "reason", "length", "tokens", 1)


async def leave_a_job(bus: Bus, model: str, id: str) -> None:
    await bus.enqueue([Job(new_id(), model, prompt="left")], limit=0, grace_s=0)


async def keep_the_log(bus: Bus, model: str, id: str) -> None:
    await bus.connection.command("PERSIST", keys.log(model, id))


async def test_true_books_are_without_fault(bus: Bus, model: str) -> None:
    id = await a_finished_job(bus, model)
    assert await books.audit(bus, model, {id: 0}) == []


@pytest.mark.parametrize(
    ("doctor", "fault"),
    [
        (bill_again, "was billed 2 times"),
        (tear_up_the_bill, "was delivered and never billed"),
        (overcharge, "brought 0 tokens; billed were 9"),
        (bill_nobody, "job x of nobody ended with 'length'"),
        (leave_a_job, "1 left in jobs"),
        (keep_the_log, "never expires"),
    ],
)
async def test_doctored_books_are_found_out(bus: Bus, model: str, doctor: Doctor, fault: str) -> None:
    id = await a_finished_job(bus, model)
    await doctor(bus, model, id)
    assert any(fault in found for found in await books.audit(bus, model, {id: 0}))
