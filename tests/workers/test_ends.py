"""A chat format brings the words that end its turns: of a chat, and of nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.protocol import Chunk, End, Grammar, Job, Reason, Sampling, new_id
from tests.workers.text.test_tools import Letters
from workers.consumer import Consumer
from workers.engines.echo import EchoEngine
from workers.prompting import Speech
from workers.text.named import named

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
SPEECH = Speech(Letters(), "{{ messages }}", stop=("<|x|>", "Human:"))


def test_a_word_that_is_a_special_token_ends_a_chat_by_its_id() -> None:
    assert SPEECH.ends(Job("a", "m", messages=HELLO)) == (frozenset({-1}), ["Human:"])


@pytest.mark.parametrize(
    "job",
    [
        Job("a", "m", prompt="Human: Hello"),
        Job("a", "m", messages=HELLO, ignore_eos=True),
        Job("a", "m", messages=HELLO, grammar=Grammar("regex", "Human:")),
    ],
    ids=["a plain prompt", "ends to be ignored", "a grammar"],
)
def test_the_words_of_a_chat_format_end_nothing_else(job: Job) -> None:
    assert SPEECH.ends(job) == (frozenset(), [])


def test_every_named_format_says_who_speaks_it() -> None:
    assert all(one.owners and one.models for one in named())


async def test_an_answer_ends_before_the_word_and_the_client_never_asked_for_it(bus: Bus, model: str) -> None:
    engine = EchoEngine()
    speech = Speech(engine.vocabulary, engine.vocabulary.chat_template or "", stop=(" river",))
    consumer = Consumer(bus, engine, speech, model=model, worker="w")
    running = asyncio.create_task(consumer.run())
    chat = {"sampling": Sampling(seed=7), "max_tokens": 200}
    async with Client(bus) as client:
        told = [e async for e in client.ask(Job(new_id(), model, messages=HELLO, **chat))]  # type: ignore[arg-type]
        plain = [e async for e in client.ask(Job(new_id(), model, prompt="user: Hello\nassistant:", **chat))]  # type: ignore[arg-type]
    consumer.drain()
    await running
    (end,), text = [e for e in told if isinstance(e, End)], "".join(e.text for e in told if isinstance(e, Chunk | End))
    whole = "".join(e.text for e in plain if isinstance(e, Chunk | End))
    assert (end.reason, end.stop, text) == (Reason.STOP, "", whole[: whole.index(" river")])
