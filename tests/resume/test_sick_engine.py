"""A model that computes no numbers, and a batching loop that fails: nobody is told nonsense, and others can take over.

The model is tiny, with weights that are NaN in its file, or become so while it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from queuechat.errors import EngineDied, Misconfigured, QueuechatError
from queuechat.protocol import Sampling
from tests.workers.engines.conftest import started
from tests.workers.engines.driver import GREEDY, Driver
from tests.workers.engines.sick import CURSED, SOUND, cursed_model, saved, tiny
from workers.engines.base import Prompt

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

HOT = Sampling(temperature=0.9, top_p=0.9, seed=3, presence_penalty=0.5)


def engine_of(folder: Path) -> Any:
    from workers.engines.transformers import TransformersEngine

    return TransformersEngine(str(folder), device="cpu", dtype="float32", max_running=8, max_context=256)


@pytest.fixture(scope="module")
def cursed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cursed_model(tmp_path_factory.mktemp("cursed"))


@pytest.fixture(scope="module")
async def cursed(cursed_folder: Path) -> AsyncIterator[Driver]:
    """For all tests that it outlives."""
    driver = await started("transformers", engine_of(cursed_folder))
    yield driver
    await driver.close()


@pytest.fixture
async def doomed(cursed_folder: Path) -> AsyncIterator[Driver]:
    """For one test, which ends it."""
    driver = await started("transformers", engine_of(cursed_folder))
    yield driver
    await driver.close()


def prompt(id: str, ids: list[int], max_new: int = 40, sampling: Sampling = GREEDY) -> Prompt:
    return Prompt(id, ids, max_new, sampling=sampling)


async def test_a_request_whose_logits_are_no_numbers_ends_with_an_error_and_the_others_go_on(cursed: Driver) -> None:
    (alone,) = await cursed.run(prompt("alone", SOUND, sampling=HOT))
    neighbour = prompt("neighbour", SOUND, sampling=HOT)
    cursed.engine.admit(neighbour)
    await cursed.speaking(neighbour.id)
    (bad,) = await cursed.run(prompt("bad", [*SOUND, CURSED]))
    assert bad.ids == []
    assert (bad.end.reason, bad.end.retryable) == ("error", False)
    assert "NaN" in bad.end.error
    assert (await cursed.finished(neighbour.id)).ids == alone.ids
    assert cursed.engine.running() == 0


async def test_a_request_alone_is_known_for_the_cause_and_the_engine_lives(cursed: Driver) -> None:
    (bad,) = await cursed.run(prompt("bad alone", [CURSED, *SOUND]))
    assert (bad.end.reason, bad.end.retryable) == ("error", False)
    (good,) = await cursed.run(prompt("good", SOUND, 5))
    assert len(good.ids) == 5


async def test_when_every_row_of_a_crowd_is_broken_the_engine_ends_since_one_may_have_spoilt_them_all(
    doomed: Driver,
) -> None:
    engine: Any = doomed.engine
    crowd = [prompt(f"p{n}", [n, CURSED]) for n in range(3)]
    with engine._manager.pause():
        for one in crowd:
            engine.admit(one)
    for one in crowd:
        end = (await doomed.finished(one.id)).end
        assert (end.reason, end.retryable) == ("error", True)


async def test_no_logit_bias_or_temperature_makes_the_engine_think_that_it_is_sick(cursed: Driver) -> None:
    biased = replace(GREEDY, logit_bias={7: 3e38, 8: -3e38})
    icy = replace(HOT, temperature=1e-300)
    crowd = await cursed.run(prompt("biased", SOUND, 4, biased), prompt("icy", SOUND, 4, icy))
    assert [transcript.end.reason for transcript in crowd] == ["length", "length"]
    assert crowd[0].ids == [7] * 4


async def test_a_temperature_next_to_nothing_is_greedy(cursed: Driver) -> None:
    greedy, icy = Sampling(temperature=0, seed=3), Sampling(temperature=1e-300, seed=3)
    first, second = await cursed.run(prompt("a", SOUND, 9, greedy), prompt("b", SOUND, 9, icy))
    assert first.ids == second.ids


async def test_what_a_broken_request_left_in_the_cache_is_given_to_nobody(cursed: Driver) -> None:
    page = 32
    beginning = [*range(100, 100 + 2 * page)]
    engine: Any = cursed.engine
    (whole,) = await cursed.run(prompt("whole", beginning, 4))
    for allocator in engine._manager.batch_processor.cache.cache_allocators.values():
        for layer in allocator._kv_token_views.values():
            for cached in layer:
                cached.fill_(torch.nan)
    (spoilt,) = await cursed.run(prompt("spoilt", beginning, 4))
    assert spoilt.end.reason == "error"
    (again,) = await cursed.run(prompt("again", beginning, 4))
    assert again.ids == whole.ids


async def test_an_embedding_that_is_no_number_is_an_error(cursed: Driver) -> None:
    with pytest.raises(QueuechatError, match="NaN"):
        await asyncio.to_thread(cursed.engine.embed, [[CURSED, 5]])
    assert await asyncio.to_thread(cursed.engine.embed, [SOUND])


async def test_a_model_whose_weights_go_bad_ends_the_engine_and_all_can_go_on_elsewhere(doomed: Driver) -> None:
    crowd = [prompt(f"p{n}", [n, *SOUND], 200) for n in range(3)]
    for one in crowd:
        doomed.engine.admit(one)
    await doomed.speaking(crowd[-1].id)
    _poison(doomed)
    for one in crowd:
        end = (await doomed.finished(one.id)).end
        assert (end.reason, end.retryable) == ("error", True)
        assert "NaN" in end.error
    await doomed.over.wait()
    with pytest.raises(EngineDied, match="NaN"):
        doomed.engine.admit(prompt("late", SOUND))


async def test_a_model_whose_weights_go_bad_ends_the_engine_even_with_one_request(doomed: Driver) -> None:
    doomed.engine.admit(prompt("only", SOUND, 200))
    await doomed.speaking("only")
    _poison(doomed)
    transcript = await doomed.finished("only")
    assert transcript.end.retryable
    with pytest.raises(EngineDied):
        await asyncio.to_thread(doomed.engine.embed, [SOUND])


async def test_a_model_that_computes_no_numbers_from_the_start_is_misconfigured(tmp_path: Path) -> None:
    model = tiny()
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    engine = engine_of(saved(model, tmp_path))
    with pytest.raises(Misconfigured, match="NaN"):
        await asyncio.to_thread(engine.start)
    engine.close()


FAILURES = {
    "out of memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "a kernel": RuntimeError("CUDA error: an illegal memory access was encountered"),
}


@pytest.mark.parametrize("failure", list(FAILURES))
async def test_a_forward_pass_that_fails_once_ends_the_engine_and_all_can_go_on_elsewhere(
    doomed: Driver, failure: str
) -> None:
    crowd = [prompt(f"p{n}", [n, *SOUND], 200) for n in range(3)]
    for one in crowd:
        doomed.engine.admit(one)
    await doomed.speaking(crowd[-1].id)
    _fail_once(doomed, FAILURES[failure])
    for one in crowd:
        end = (await doomed.finished(one.id)).end
        assert (end.reason, end.retryable) == ("error", True)
        assert str(FAILURES[failure]) in end.error
    await doomed.over.wait()
    with pytest.raises(EngineDied, match="CUDA"):
        doomed.engine.admit(prompt("late", SOUND))


def _poison(driver: Driver) -> None:
    engine: Any = driver.engine
    with torch.inference_mode():
        engine._model.model.norm.weight.fill_(torch.nan)


def _fail_once(driver: Driver, error: Exception) -> None:
    """The next forward pass of the model raises; those after it would work."""
    engine: Any = driver.engine

    def fail(module: Any, args: Any) -> None:
        handle.remove()
        raise error

    handle = engine._model.model.register_forward_pre_hook(fail)
