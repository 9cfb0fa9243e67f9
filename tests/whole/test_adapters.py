"""Adapters as a user starts them: models of their own on one base, which answer as what peft merges."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from queuechat.client import Client
from queuechat.errors import Misconfigured
from queuechat.protocol import Chunk, End, Job, Reason, Sampling, new_id
from queuechat.roster import take_census
from tests.processes import Workers
from tests.workers.engines.lora import CONFIGS, greedy, saved_adapter, short_model
from workers.models import resolve

PROMPT = [504, 2732, 314]
TOKENS = 16


async def ids_of(client: Client, model: str, count: int, kill: int | None = None) -> list[int]:
    """A greedy answer; the process `kill` is killed as soon as it has begun."""
    job = Job(new_id(), model, prompt=PROMPT, max_tokens=count, sampling=Sampling(temperature=0), ignore_eos=True)
    ids: list[int] = []
    async for event in client.ask(job):
        if isinstance(event, Chunk):
            ids += event.ids
            if kill is not None:
                os.kill(kill, signal.SIGKILL)
                kill = None
        elif isinstance(event, End):
            assert event.reason is Reason.LENGTH, event
    return ids


async def test_adapters_are_models_that_answer_alone_in_a_crowd_and_across_a_kill(
    client: Client, workers: Workers, model: str, tmp_path: Path
) -> None:
    base = short_model(tmp_path / "base")
    merged: dict[str, Any] = {"": base}
    flags = ["--engine", "transformers", "--device", "cpu", "--max-context", "256", "--threads", "1"]
    for name in CONFIGS:
        merged[name] = saved_adapter(base, name, tmp_path / name)
        flags += ["--lora", f"{model}-{name}={tmp_path / name}"]
    names = {name: f"{model}-{name}" if name else model for name in merged}
    await workers.start(str(tmp_path / "base"), model, *flags)

    census = await take_census(client.bus)
    assert {census.models[names[name]].card.parent for name in CONFIGS} == {model}
    assert [worker.adapters for worker in census.workers if worker.model == model] == [[names[n] for n in CONFIGS]]
    (card,) = census.resolve(names["bard"]).workers

    expected = {name: greedy(one, PROMPT, TOKENS) for name, one in merged.items()}
    assert len({tuple(ids) for ids in expected.values()}) == 3
    crowd = [name for name in merged for _ in range(2)]
    assert await ids_of(client, names["pirate"], TOKENS) == expected["pirate"]
    answers = await asyncio.gather(*(ids_of(client, names[name], TOKENS) for name in crowd))
    assert answers == [expected[name] for name in crowd]

    answers = await asyncio.gather(
        *(ids_of(client, names[name], TOKENS, card.pid if n == 0 else None) for n, name in enumerate(crowd))
    )
    assert answers == [expected[name] for name in crowd]
    assert [worker.restarts for worker in await workers.of(names["bard"])] == [1]


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        (["bard"], "not of the form NAME=FOLDER"),
        (["m={here}"], "the name 'm' is taken"),
        (["a={here}", "a={here}"], "the name 'a' is taken"),
        (["a=/nowhere"], "there is no folder /nowhere"),
    ],
)
def test_an_adapter_without_a_name_or_a_folder_is_refused(tmp_path: Path, lora: list[str], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        resolve(str(tmp_path), names=["m"], lora=[one.format(here=tmp_path) for one in lora])


def test_engines_without_adapters_say_who_has_them(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"--lora means nothing to engine 'echo'.*--lora is for transformers"):
        resolve("echo", lora=[f"a={tmp_path}"])
