"""What is done beside the batch: it waits for what takes long, and nothing else does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from queuechat.bus import Bus, Claim
from queuechat.client import Client
from queuechat.protocol import Chunk, End, Job, choice_id, new_id
from tests.workers.test_scoring import Scoring, a_consumer
from workers.beside import _EMBED_BATCH as BATCH
from workers.consumer import Consumer
from workers.engines.echo import EchoEngine, EchoVocabulary
from workers.intake import Intake
from workers.prompting import Speech, is_short
from workers.running import Embedding

LONG = "x" * 100_000


class Slow(EchoVocabulary):
    """It needs as long for long texts as the test likes."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on, self.at_work, self.most = threading.Event(), threading.Event(), 0, 0

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        if len(text) < len(LONG):
            return super().encode(text, add_special=add_special)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        self.begun.set()
        self.go_on.wait()
        self.at_work -= 1
        return [1]


def reads(model: str, text: str) -> Job:
    return Job(new_id(), model, prompt=text, reading="count", lane="reads")


async def counted(client: Client, job: Job) -> int:
    (end,) = [event async for event in client.ask(job) if isinstance(event, End)]
    assert end.read is not None
    return end.read.count


async def test_long_prompts_are_read_one_at_a_time_and_nothing_else_waits_for_them(bus: Bus, model: str) -> None:
    engine = Scoring()
    slow = engine.vocabulary = Slow()
    async with a_consumer(bus, model, engine), Client(bus) as client:
        long = [asyncio.create_task(counted(client, reads(model, LONG))) for _ in range(6)]
        try:
            await asyncio.to_thread(slow.begun.wait)
            assert await counted(client, reads(model, "ab")) == 2
            job = Job(new_id(), model, prompt="a" * 5000, max_tokens=3)  # tokenised in a thread
            answer = [event async for event in client.ask(job) if isinstance(event, Chunk)]
            assert sum(chunk.count for chunk in answer) == 3
            assert not any(task.done() for task in long)
        finally:
            slow.go_on.set()
        assert await asyncio.gather(*long) == [1] * 6
    assert slow.most == 1


async def test_the_choices_of_a_request_are_scored_once(bus: Bus, model: str) -> None:
    engine, id = Scoring(), new_id()
    jobs = [Job(choice_id(id, k), model, prompt="ab", max_tokens=2, prompt_logprobs=0) for k in range(3)]
    async with a_consumer(bus, model, engine), Client(bus) as client:
        answer = await client.submit(jobs)
        while not answer.ended:
            await answer.take()
        await answer.close()
    assert engine.asked == 1


class Asked(EchoEngine):
    """`second` is called while the second batch is made."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.second: Callable[[], None] = lambda: None

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        self.asked += 1
        if self.asked == 2:
            self.second()
        return super().embed(batch)


async def test_nothing_more_is_embedded_for_a_job_that_is_somebody_elses(bus: Bus, model: str) -> None:
    engine = Asked()
    consumer = Consumer(bus, engine, Speech(engine.vocabulary, ""), model=model, worker="w")
    claim = Claim(Job(new_id(), model, inputs=["a"]), "nonce", 1, 0, "", 600_000)
    held = Embedding(claim, [[1]] * BATCH * 4)
    consumer.held[claim.job.id] = held
    loop = asyncio.get_running_loop()

    async def forget() -> None:
        consumer._forget(held)

    engine.second = lambda: asyncio.run_coroutine_threadsafe(forget(), loop).result()
    consumer._beside.begin(held)
    await asyncio.gather(*consumer._beside._tasks)
    assert engine.asked == 2


@pytest.mark.parametrize(
    "job",
    [
        Job("a", "m", prompt="x" * 3000),
        Job("a", "m", prompt="a", suffix="x" * 3000),
        Job("a", "m", messages=[{"role": "user", "content": "x" * 3000}]),
        Job("a", "m", messages=[{"role": "assistant", "tool_calls": [{"function": {"arguments": "x" * 3000}}]}]),
        Job("a", "m", messages=[{"role": "user", "content": ""}] * 1000),
        Job("a", "m", messages=[], tools=[{"function": {"parameters": {"a": ["x" * 3000]}}}]),
        Job("a", "m", messages=[], template_args={"a": "x" * 3000}),
        Job("a", "m", messages=[], images=["x"]),
    ],
    ids=["prompt", "suffix", "content", "calls", "messages", "tools", "arguments", "images"],
)
def test_all_that_is_rendered_counts(job: Job) -> None:
    assert not is_short(job, 2000)


def test_a_question_is_short() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert is_short(Job("a", "m", messages=[{"role": "user", "content": "who are you?"}], tools=tools), 2000)


@pytest.mark.parametrize("waits", [True, False])
async def test_who_may_wait_is_never_asked_on_the_event_loop(bus: Bus, model: str, waits: bool) -> None:
    threads = []

    class Noted(EchoVocabulary):
        def encode(self, text: str, *, add_special: bool) -> list[int]:
            threads.append(threading.current_thread())
            return super().encode(text, add_special=add_special)

    vocabulary = Noted()
    vocabulary.waits = waits
    intake = Intake(bus, Speech(vocabulary, ""), EchoEngine().caps, model)
    await intake.take(Claim(Job(new_id(), model, prompt="short"), "nonce", 1, 0, "", 600_000))
    assert [thread is threading.current_thread() for thread in threads] == [not waits]
