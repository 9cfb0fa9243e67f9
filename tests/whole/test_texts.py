"""Prompts, scores and vectors by workers as processes: what their cards say, and that it is so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.protocol import Chunk, End, Job, Read, Sampling, new_id
from queuechat.roster import capabilities, take_census
from tests.processes import Workers
from tests.workers.engines import tiny_seq2seq


async def test_a_folder_with_an_encoder_is_served_for_embeddings_only(
    bus: Bus, client: Client, workers: Workers, model: str, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    from tests.workers.engines.test_encoder import made

    folder = tmp_path / "encoder"
    folder.mkdir()
    await workers.start(str(made(folder, pooling="cls_token")), model, "--device", "cpu")
    card = (await take_census(bus)).models[model].card
    assert (capabilities(card), card.context_length) == (["embeddings"], 24)
    events = [event async for event in client.ask(Job(new_id(), model, inputs=["a river", "stone"]))]
    assert len([event for event in events if isinstance(event, Chunk)]) == 2
    (end,) = [event async for event in client.ask(Job(new_id(), model, prompt="a river", max_tokens=1))]
    assert isinstance(end, End)
    assert end.error
    assert "embeddings" in end.error.message
    (told,) = [e async for e in client.ask(Job(new_id(), model, prompt="a river", reading="count", lane="reads"))]
    assert isinstance(told, End)
    assert told.read == Read(4)  # [CLS] a river [SEP]


async def test_a_folder_with_a_t5_is_served_for_chats_and_completions(
    bus: Bus, client: Client, workers: Workers, model: str, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    folder = tiny_seq2seq.t5(tmp_path / "t5-tiny")
    command = await workers.start(str(folder), model, "--device", "cpu", "--max-running", "4")
    assert "has no chat template; its name tells 'plain'" in command.log.read_text()
    card = (await take_census(bus)).models[model].card
    assert (capabilities(card), card.context_length) == (["completion", "chat", "json_schema"], 1024)

    async def told(**asked: Any) -> list[int]:
        job = Job(new_id(), model, max_tokens=6, sampling=Sampling(temperature=0), ignore_eos=True, **asked)
        events = [event async for event in client.ask(job)]
        assert isinstance(events[-1], End)
        assert (events[-1].error, events[-1].offset) == (None, 6)
        return [id for event in events if isinstance(event, Chunk) for id in event.ids]

    chat = [{"role": "system", "content": "the fox"}, {"role": "user", "content": "and the river"}]
    assert await told(messages=chat) == await told(prompt="the fox\nand the river")  # the encoder reads an end in both
