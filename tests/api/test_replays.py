"""What repeats an earlier request has its answer to the last letter: ids of calls, times and all."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from api import responding
from api.routes import responses
from queuechat.bus import Bus
from queuechat.client import Event
from tests.api.hand import Hand
from tests.api.responses import CALL, PATH, TOOLS, ask
from tests.api.site import Site, a_site

SAID = [{"role": "user", "content": "Weather?"}]
NESTED = [{"type": "function", "function": {"name": tool["name"]}} for tool in TOOLS]
CLIENTS = [{"name": tool["name"], "input_schema": {"type": "object"}} for tool in TOOLS]
ASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "a chat": ("/v1/chat/completions", {"messages": SAID, "tools": NESTED}),
    "a response": (PATH, {"input": SAID, "tools": TOOLS}),
    "a message": ("/v1/messages", {"messages": SAID, "tools": CLIENTS, "max_tokens": 99}),
    "a chat of Ollama's": ("/api/chat", {"messages": SAID, "tools": NESTED}),
}


@pytest.fixture
async def caller(bus: Bus, model: str) -> AsyncIterator[Hand]:
    """A worker whose model calls a tool, whatever it is asked."""
    async with Hand(bus, model, tool_format="hermes") as hand:

        async def call(hand: Hand, claim: Any) -> None:
            await hand.say(claim, CALL)
            await hand.end(claim)

        hand.always(call)
        yield hand


@pytest.fixture(scope="module")
async def open_site(redis_url: str) -> AsyncIterator[Site]:
    async with a_site(redis_url, drain_s=0, ollama=True) as opened:
        yield opened


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", list(ASKS))
async def test_a_replay_has_the_ids_of_the_first_answer(open_site: Site, caller: Hand, name: str, stream: bool) -> None:
    path, fields = ASKS[name]
    body, headers = {"model": caller.model, "stream": stream, **fields}, {"Idempotency-Key": caller.model + name}
    first = await open_site.http.post(path, json=body, headers=headers)
    again = await open_site.http.post(path, json=body, headers=headers)
    assert (first.status_code, again.headers["idempotency-replayed"]) == (200, "true"), first.text
    ids = [set(re.findall(r'"((?:call|toolu)_[0-9a-f]{8,})"', answer.text)) for answer in (first, again)]
    assert len(ids[0]) == 1
    assert ids[0] == ids[1]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_replayed_response_is_the_stored_one(
    site: Site, caller: Hand, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    days = itertools.count(1_700_000_000, 86_400)
    monkeypatch.setattr(responses, "time", SimpleNamespace(time=lambda: next(days)))
    body, headers = ask(caller, stream=stream), {"Idempotency-Key": caller.model}
    first = await site.http.post(PATH, json=body, headers=headers)
    again = await site.http.post(PATH, json=body, headers=headers)
    times = [set(map(int, re.findall(r'"created_at":(\d+)', answer.text))) for answer in (first, again)]
    assert times == [{1_700_000_000}] * 2


async def test_a_long_response_is_told_again_page_by_page(
    site: Site, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.create_task(site.post(PATH, ask(hand, background=True)))
    await hand.tell(*["word "] * 250)
    id = (await asked).json()["id"]
    sizes: list[int] = []
    render = responding.ResponseFrames.render

    def noted(frames: responding.ResponseFrames, events: list[tuple[int, Event]]) -> bytes:
        sizes.append(len(events))
        return render(frames, events)

    monkeypatch.setattr(responding.ResponseFrames, "render", noted)
    told = (await site.http.get(f"{PATH}/{id}", params={"stream": "true"})).text
    last = json.loads(told.rsplit("data: ", 1)[1])
    assert last["response"]["output"][0]["content"][0]["text"] == "word " * 250
    assert sum(sizes) == 251
    assert max(sizes) <= 100
