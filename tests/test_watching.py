"""What a Watch makes of readings, and what a reading finds in Redis."""

from __future__ import annotations

import itertools

import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.errors import BusUnavailable
from queuechat.protocol import Depth, End, Job, ModelCard, Reason, WorkerCard, new_id
from queuechat.roster import Census, Model
from queuechat.watching import Flow, Moment, Reading, Sight, Watch, spread, take_reading
from tests.conftest import free_port


def reading(at: float, flow: Flow, *, name: str = "m", tokens_per_s: float = 0.0, waiting: int = 0) -> Reading:
    worker = WorkerCard("w", name, state="ready", running=1, capacity=4, tokens_per_s=tokens_per_s)
    census = Census({name: Model(ModelCard(name), [worker])})
    return Reading(at, census, {name: Depth(waiting, finished_per_s=7.0)}, {name: flow})


def now(watch: Watch) -> Sight:
    (sight,) = watch.models
    return sight


def test_rates_are_unknown_until_there_is_something_to_compare_with() -> None:
    watch = Watch()
    watch.add(reading(0, Flow(100, 90)))
    assert now(watch).now.came_per_s is None
    assert now(watch).ended_per_s == 7.0  # what Redis says of the last jobs that ended
    watch.add(reading(2, Flow(106, 92)))
    assert (now(watch).now.came_per_s, now(watch).ended_per_s) == (3.0, 1.0)


def test_rates_are_over_the_last_window_alone() -> None:
    watch = Watch(window_s=10)
    for at, came in ((0, 0), (1, 1000), (8, 1000), (12, 1004), (18, 1010)):
        watch.add(reading(at, Flow(came, came)))
    assert now(watch).now.came_per_s == 1.0


def test_after_a_gap_in_the_readings_the_rate_is_over_the_gap() -> None:
    watch = Watch(window_s=10)
    watch.add(reading(0, Flow(0, 0)))
    watch.add(reading(60, Flow(120, 60)))
    assert (now(watch).now.came_per_s, now(watch).ended_per_s) == (2.0, 1.0)


def test_counts_that_went_back_are_not_compared_with() -> None:
    watch = Watch()
    watch.add(reading(0, Flow(100, 90)))
    watch.add(reading(1, Flow(3, 2)))  # Redis was emptied
    assert now(watch).now.came_per_s is None


def test_what_is_older_than_the_history_is_forgotten() -> None:
    watch = Watch(span_s=5)
    for at in range(20):
        watch.add(reading(at, Flow()))
    assert [moment.at for moment in now(watch).past] == [14, 15, 16, 17, 18, 19]
    (hand,) = watch.workers
    assert len(hand.past) == 6


def test_models_and_workers_that_have_gone_are_forgotten() -> None:
    watch = Watch()
    watch.add(reading(0, Flow(), name="old"))
    watch.add(reading(1, Flow(), name="new"))
    assert [sight.name for sight in watch.models] == ["new"]
    watch.add(Reading(2))
    assert (watch.models, watch.workers) == ([], [])


def test_models_that_nobody_serves_and_nobody_wants_come_last() -> None:
    idle, wanted, served = (Model(ModelCard(name), []) for name in ("a-idle", "b-wanted", "c-served"))
    served.workers.append(WorkerCard("w", "c-served"))
    census = Census({model.card.name: model for model in (idle, wanted, served)})
    depths = {"a-idle": Depth(), "b-wanted": Depth(waiting=1), "c-served": Depth()}
    watch = Watch()
    watch.add(Reading(0, census, depths, dict.fromkeys(depths, Flow())))
    assert [sight.name for sight in watch.models] == ["b-wanted", "c-served", "a-idle"]


def test_a_history_is_spread_over_equal_intervals_with_gaps_where_nothing_is_known() -> None:
    watch = Watch()
    for at, speed in ((0.0, 99), (10.0, 4), (11.0, 8), (15.0, 2), (19.0, 6)):
        watch.add(reading(at, Flow(), tokens_per_s=speed))

    def speed_of(moment: Moment) -> float:
        return moment.tokens_per_s

    assert spread(now(watch).past, speed_of, 10, 5) == [6.0, None, 2.0, None, 6.0]


def test_only_the_newest_interval_changes_as_time_goes_on() -> None:
    watch = Watch()
    shown = []
    for at in range(200, 210):
        watch.add(reading(at, Flow(), waiting=at % 7))
        shown.append(spread(now(watch).past, lambda moment: float(moment.waiting), 10, 5))
    for before, after in itertools.pairwise(shown):
        assert after[:-1] in (before[:-1], before[1:])


async def test_a_reading_counts_what_came_and_what_ended(bus: Bus, model: str) -> None:
    census = Census({model: Model(ModelCard(model), [])})
    empty = await take_reading(bus, census)
    assert (empty.flows[model], empty.depths[model].waiting) == (Flow(0, 0), 0)
    jobs = [Job(new_id(), model, prompt="x") for _ in range(3)]
    for job in jobs:
        await bus.enqueue([job], limit=0, grace_s=0)
    await bus.enqueue([Job(new_id(), model, prompt="x", lane="bulk")], limit=0, grace_s=0)
    await bus.enqueue([Job(new_id(), model, prompt="x", lane="reads")], limit=0, grace_s=0)  # no job to speak of
    claims = await bus.claim(model, "w", "w/1", room=1)
    await bus.finish(model, [(claims[0].job.id, "w/1", End(Reason.STOP))])
    await bus.cancel(model, [jobs[1].id])
    seen = await take_reading(bus, census)
    assert seen.flows[model] == Flow(came=4, ended=2)
    assert (seen.depths[model].waiting, seen.depths[model].bulk_waiting) == (1, 1)


async def test_a_reading_brings_the_newest_dead_letters_of_each_model(bus: Bus, model: str) -> None:
    names = [model, f"{model}-2"]
    for name in names:
        for k in range(7):
            fields = ("id", f"{name}-{k}", "tokens", 3, "crashes", 5, "worker", "w", "tenant", "")
            await bus.connection.command("XADD", keys.dead(name), f"{1000 + k}-0", *fields)
    census = Census({name: Model(ModelCard(name), []) for name in names})
    watch = Watch()
    watch.add(await take_reading(bus, census))
    for sight in watch.models:
        assert [letter.id for letter in sight.letters] == [f"{sight.name}-{k}" for k in (6, 5, 4, 3, 2)]


async def test_a_reading_of_nothing_still_tells_when_redis_is_away() -> None:
    away = Bus(f"redis://127.0.0.1:{free_port()}", patience_s=0.1)
    with pytest.raises(BusUnavailable):
        await take_reading(away, Census())
    await away.close()
