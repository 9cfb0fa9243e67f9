"""Prompts, scores and vectors by workers as processes: what their cards say, and that it is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.protocol import Chunk, End, Job, Read, new_id
from queuechat.roster import capabilities, take_census
from tests.processes import Workers


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
