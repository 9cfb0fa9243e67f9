"""The roster: names and aliases of live models, and errors that say what there is."""

from __future__ import annotations

import time

import orjson
import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.errors import ModelNotFound, NoWorker
from queuechat.protocol import ModelCard, WorkerCard
from queuechat.roster import Census, Model, take_census


def a_model(name: str, *aliases: str, states: tuple[str, ...] = ("ready",)) -> Model:
    workers = [WorkerCard(f"w{k}", name, state=state) for k, state in enumerate(states)]  # type: ignore[arg-type]
    return Model(ModelCard(name, list(aliases)), workers)


CENSUS = Census({m.card.name: m for m in (a_model("smollm2", "small"), a_model("gone", "old", states=()))})


@pytest.mark.parametrize("name", ["smollm2", "small"])
def test_a_model_is_found_by_name_and_alias(name: str) -> None:
    assert CENSUS.resolve(name).card.name == "smollm2"


def test_an_unknown_name_is_answered_with_what_may_be_meant() -> None:
    with pytest.raises(ModelNotFound, match=r"Did you mean 'smollm2'\? Models served now: small, smollm2"):
        CENSUS.resolve("smolm2")


@pytest.mark.parametrize("name", ["gone", "old"])
def test_a_model_without_workers_is_a_reason_to_come_back(name: str) -> None:
    with pytest.raises(NoWorker) as caught:
        CENSUS.resolve(name)
    assert caught.value.retry_after


def test_a_live_model_with_an_alias_wins_over_a_dead_one_of_that_name() -> None:
    census = Census({m.card.name: m for m in (a_model("gpt", states=()), a_model("mine", "gpt"))})
    assert census.resolve("gpt").card.name == "mine"


@pytest.mark.parametrize(
    ("states", "status"), [((), "no_worker"), (("loading",), "loading"), (("draining", "ready"), "ready")]
)
def test_a_model_is_as_ready_as_its_best_worker(states: tuple[str, ...], status: str) -> None:
    assert a_model("m", states=states).status == status


async def test_a_card_of_another_release_is_passed_over_and_one_that_says_more_is_read(bus: Bus, model: str) -> None:
    now = int(time.time() * 1000)
    good = orjson.dumps({"id": f"{model}-1", "model": model, "state": "ready", "colour": "green"})
    for worker, raw in ((f"{model}-1", b"1" + good), (f"{model}-2", b"9" + good), (f"{model}-3", b"1{}")):
        await bus.connection.command("SET", keys.worker_card(worker), raw, "PX", 5000)
        await bus.connection.command("ZADD", keys.WORKERS, now, worker)
    await bus.connection.command("SET", keys.model_card(model), ModelCard(model).encode(), "EX", 60)
    await bus.connection.command("ZADD", keys.MODELS, now, model)
    assert [worker.id for worker in (await take_census(bus)).models[model].workers] == [f"{model}-1"]


async def test_a_worker_serves_its_adapters_and_is_still_one_worker(bus: Bus, model: str) -> None:
    now, adapter = int(time.time() * 1000), f"{model}-bard"
    card = WorkerCard(f"{model}-1", model, adapters=[adapter], state="ready")
    await bus.connection.command("SET", keys.worker_card(card.id), card.encode(), "PX", 5000)
    await bus.connection.command("ZADD", keys.WORKERS, now, card.id)
    for name in (model, adapter):
        await bus.connection.command("SET", keys.model_card(name), ModelCard(name).encode(), "EX", 60)
        await bus.connection.command("ZADD", keys.MODELS, now, name)
    census = await take_census(bus)
    assert census.resolve(adapter).workers == census.resolve(model).workers == [card]
    assert [worker for worker in census.workers if worker.id == card.id] == [card]
