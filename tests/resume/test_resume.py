"""An answer cut anywhere and taken over by another worker is the answer that nothing disturbed.

`python -m tests.resume` does at length, and at every place, what is done here for a few chats.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import pytest

from queuechat.protocol import Job, Reason, Sampling
from tests.resume.cases import MODES, SMALL, Case, case, with_stop
from tests.resume.cuts import Difference, Whole, taken_over, whole
from tests.resume.worker import Worker
from tests.workers.engines.conftest import ENGINES, each_of

TOKENS = 12
SEED = 5
TRIES = 8
CHATS = [1, 4]  # the second one is a dialogue, with letters that are more than one byte


@pytest.fixture(scope="module", params=each_of("echo", "shallow", "transformers", "llamacpp", "vision"))
async def worker(request: pytest.FixtureRequest) -> AsyncIterator[Worker]:
    """Each engine that has its model here, in turn."""
    engine = ENGINES[request.param]()
    await asyncio.to_thread(engine.start)
    worker = Worker(engine)
    yield worker
    await worker.close()


def exact(worker: Worker) -> Worker:
    if worker.engine.caps.resume != "exact":
        pytest.skip("this engine resumes in distribution only")
    return worker


def only_in_distribution(worker: Worker) -> None:
    if worker.engine.caps.resume == "exact":
        pytest.skip("what is bit-equal keeps its word")


def asked(worker: Worker, mode: str, chat: int) -> Case:
    """A case; the echo, which has no logits, is asked without what acts on them."""
    one = case(mode, chat, {**MODES, **SMALL}[mode], tokens=TOKENS, seed=SEED)
    if worker.engine.caps.context_length == 8192:
        return replace(one, job=replace(one.job, sampling=replace(one.job.sampling, logit_bias={})))
    return one


def handful(one: Whole) -> list[int]:
    """Cuts at both ends and in the middle of an answer."""
    n = len(one.answer.ids)
    return sorted({0, 1, n // 2, n - 1, n})


def inside(stopped: Whole) -> list[int]:
    """Cuts that leave a part of the stop string published as ids and held back as text."""
    texts = stopped.published.texts
    return [cut for cut in range(1, len(texts) - 1) if len(texts[cut]) == len(texts[-1])]


async def differences(tries: Iterable[tuple[Whole, int]], worker: Worker) -> list[Difference]:
    """Of all of them, taken over side by side."""
    found = await asyncio.gather(*(taken_over(worker, one, cut) for one, cut in tries))
    return [difference for each in found for difference in each]


async def free_and_stopped(worker: Worker, chat: int) -> tuple[Whole, Whole]:
    """A sampled answer, and the same one with a stop string out of its own text.

    A model of random weights may say nothing but broken characters: then another seed is tried.
    """
    one = asked(worker, "sampled", chat)
    for seed in range(TRIES):
        sampling = replace(one.job.sampling, seed=(one.job.sampling.seed or 0) + 1000 * seed)
        free = await whole(worker, replace(one, job=replace(one.job, sampling=sampling)))
        if stopped := with_stop(free.case, free.answer.text, free.published.texts):
            return free, await whole(worker, stopped)
    raise AssertionError("no answer has a text to stop at")


@pytest.mark.parametrize("modes", [MODES, SMALL], ids=["large", "small"])
async def test_an_answer_taken_over_is_bit_equal_in_every_mode(worker: Worker, modes: dict[str, Sampling]) -> None:
    exact(worker)
    chats = CHATS if modes is MODES else CHATS[:1]
    wholes = await asyncio.gather(*(whole(worker, asked(worker, mode, chat)) for mode in modes for chat in chats))
    assert await differences(((one, cut) for one in wholes for cut in handful(one)), worker) == []


@pytest.mark.parametrize("chat", CHATS)
async def test_an_answer_cut_inside_its_stop_string_ends_before_it(worker: Worker, chat: int) -> None:
    exact(worker)
    free, stopped = await free_and_stopped(worker, chat)
    ids = stopped.answer.ids
    assert stopped.answer.end.reason is Reason.STOP
    assert ids == free.answer.ids[: len(ids)]
    assert len(ids) < len(free.answer.ids)
    assert stopped.answer.text == free.answer.text[: free.answer.text.find(stopped.case.job.stop[1])]
    assert inside(stopped), "no cut lies in the stop string"
    assert await differences(((stopped, cut) for cut in {*handful(stopped), *inside(stopped)}), worker) == []


async def test_an_answer_taken_over_twice_is_bit_equal(worker: Worker) -> None:
    exact(worker)
    one = await whole(worker, asked(worker, "penalties", CHATS[0]))
    first = await worker.answer(replace(one.case.job, max_tokens=9), one.answer.ids[:4], one.published.hashes[4])
    assert first.ids == one.answer.ids[4:9]
    assert await taken_over(worker, one, 9) == []


async def test_the_choices_of_one_request_differ(worker: Worker) -> None:
    if worker.engine.caps.context_length == 8192:
        pytest.skip("the echo says little enough that choices may agree")
    first, second = [await whole(worker, asked(worker, mode, CHATS[0])) for mode in ("n=2, first", "n=2, second")]
    assert first.answer.ids != second.answer.ids


@pytest.mark.parametrize("mode", ["greedy", "sampled", "top-p", "top_k", "min_p"])
async def test_what_was_delivered_is_never_contradicted_and_the_budget_is_kept(worker: Worker, mode: str) -> None:
    only_in_distribution(worker)
    one = await whole(worker, asked(worker, mode, CHATS[0]))
    for cut in handful(one):
        await _keeps_its_word(worker, one, cut)


async def test_a_stop_string_half_delivered_never_shows_in_the_text(worker: Worker) -> None:
    only_in_distribution(worker)
    _, stopped = await free_and_stopped(worker, CHATS[0])
    for cut in inside(stopped):
        text = stopped.published.texts[cut] + (await _keeps_its_word(worker, stopped, cut))
        assert not any(word in text for word in stopped.case.job.stop)


async def _keeps_its_word(worker: Worker, one: Whole, cut: int) -> str:
    """Text of a taken over answer that fits what was delivered: contiguous, within max_tokens, greedy ids the same."""
    job: Job = one.case.job
    after = await worker.answer(job, one.answer.ids[:cut], one.published.hashes[cut])
    total = cut + len(after.ids)
    assert after.end.offset == total <= (job.max_tokens or 0)
    assert after.end.reason in (Reason.STOP, Reason.LENGTH)
    assert (after.end.reason is Reason.STOP) or total == job.max_tokens
    if job.sampling.temperature == 0:
        assert [*one.answer.ids[:cut], *after.ids] == one.answer.ids
    together = [*one.answer.ids[:cut], *after.ids]
    whole_text = worker.published(job, together).texts[-1]
    assert (one.published.texts[cut] + after.text).startswith(whole_text)
    return after.text
