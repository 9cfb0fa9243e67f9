"""Workers of an `api_endpoints.json` as processes, with real signals, between two houses."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from queuechat.bus import Bus
from queuechat.roster import take_census
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.conftest import free_port, start_redis
from tests.processes import Command, Workers, census_when
from tests.relay.provider import Provider, a_provider, saying, streaming
from tests.relay.relaying import ask
from tests.servers import opened

HI: list[Any] = [{"role": "user", "content": "Hi"}]
KEY = "sk-a-key-that-nobody-may-see"


@dataclass
class House:
    """Ours: its Redis' folder, its API, and one command that serves the models `chats`, `prefills` and `echoes`."""

    folder: Path
    bus: Bus
    site: Site
    command: Command
    provider: Provider

    async def kill(self, model: str) -> None:
        """SIGKILL for the engine child of a model, once it runs something."""

        def runs(census: Any) -> bool:
            return any(w.model == model and w.running for w in census.workers)

        census = await census_when(self.bus, runs)
        (card,) = [w for w in census.workers if w.model == model]
        os.kill(card.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
async def house(far: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder, port = tmp_path_factory.mktemp("house"), free_port()
    redis, url = start_redis(folder, port), f"redis://127.0.0.1:{port}"
    async with opened(url) as bus, a_site(url, drain_s=0) as site, a_provider() as provider:
        there = {"api_type": "openai", "api_base": f"{far.url}/v1", "api_key_env": "THEIR_KEY"}
        entries = {
            "chats": {"model_name": "theirs", **there},
            "echoes": {"model_name": "far-echo", **there, "aliases": ["parrot"]},
            "prefills": {
                "model_name": "m", "api_type": "openai", "api_base": f"{provider.url}/v1", "api_key": KEY,
                "resume": "prefill",
            },
        }  # fmt: skip
        file = folder / "api_endpoints.json"
        file.write_text(json.dumps(entries))
        arguments = ["worker", "--endpoints", str(file)]
        env = {"QUEUECHAT_REDIS_URL": url, "THEIR_KEY": KEY}
        command = await Command.start(arguments, folder / "w", **env)

        def all_ready(census: Any) -> bool:
            assert command.process.returncode is None, command.log.read_text()
            return {w.model for w in census.workers if w.state == "ready"} == set(entries)

        await census_when(bus, all_ready)
        yield House(folder, bus, site, command, provider)
        assert await command.stop() == 0, command.log.read_text()
    redis.kill()
    redis.wait()


@pytest.fixture(scope="module")
async def echo(far_redis: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Workers]:
    """A worker of the far side, with an engine of its own."""
    async with opened(far_redis) as bus:
        workers = Workers(far_redis, bus, tmp_path_factory.mktemp("echo"))
        await workers.start("echo", "far-echo", "--echo-rate", "200", "--max-running", "2")
        yield workers
        await workers.stop()


async def test_each_model_of_the_file_is_served_and_told_as_any_other(house: House) -> None:
    wanted = {"completion", "chat", "tools", "json_schema"}
    rows: dict[str, Any] = {}
    while not all(set(rows.get(name, ())) == wanted for name in ("chats", "echoes", "prefills")):
        listed = (await house.site.sdk.models.list()).data  # what it knows may be a moment old
        rows = {row.id: row.model_dump()["capabilities"] for row in listed}
    cards = (await take_census(house.bus)).workers
    assert {card.device for card in cards} == {"127.0.0.1"}
    models = (await take_census(house.bus)).models
    assert {name: models[name].card.resume for name in ("chats", "prefills")} == {
        "chats": "none",
        "prefills": "distribution",
    }


async def test_from_our_door_through_their_queue_and_back(house: House, echo: Workers) -> None:
    whole = await ask(house.site, "parrot", HI, max_tokens=12, seed=3)
    assert len(whole.choices[0].message.content.split()) == 12
    assert (whole.choices[0].finish_reason, whole.usage.completion_tokens) == ("length", 12)
    stream = await ask(house.site, "echoes", HI, max_tokens=12, seed=3, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    other = await ask(house.site, "echoes", HI, max_tokens=12, seed=4)
    assert other.choices[0].message.content != whole.choices[0].message.content


async def test_who_leaves_frees_a_place_on_the_far_side(house: House, echo: Workers) -> None:
    streams = [await ask(house.site, "echoes", HI, max_tokens=5000, stream=True) for _ in range(2)]
    for stream in streams:
        async for _ in stream:
            break
        await stream.close()
    again = await ask(house.site, "echoes", HI, max_tokens=3)  # there were two places
    assert again.usage.completion_tokens == 3
    await census_when(house.bus, lambda census: not any(w.running for w in census.workers))


async def test_a_worker_that_is_killed_before_a_word_came_asks_anew_and_nobody_notices(
    house: House, hand: Hand
) -> None:
    asked = asyncio.create_task(ask(house.site, "chats", HI))
    first = await hand.one()
    await house.kill("chats")
    assert await hand.cancelled.get() == first.job.id
    await hand.tell("Here I am.")
    assert (await asked).choices[0].message.content == "Here I am."


async def test_a_worker_that_is_killed_in_the_middle_contradicts_nothing(house: House, hand: Hand) -> None:
    opening = asyncio.create_task(ask(house.site, "chats", HI, stream=True))
    claim = await hand.one()
    await hand.say(claim, "The answer is")
    stream = await opening
    texts: list[str] = []

    async def read() -> None:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")
            if texts[-1]:
                await house.kill("chats")

    with pytest.raises(openai.APIError, match="ask again") as caught:
        await read()
    assert ("".join(texts), caught.value.code) == ("The answer is", "provider_failed")
    assert await hand.cancelled.get() == claim.job.id


async def test_a_worker_that_is_killed_in_the_middle_is_gone_on_from_where_the_provider_can(house: House) -> None:
    begun = streaming(*saying("The answer", reason=None, usage=None), done=False)
    hanging = type(begun)(body=begun.body, hangs=True)
    await house.provider.reply(hanging, streaming(*saying(" is 42.")))
    stream = await ask(house.site, "prefills", HI, stream=True)
    texts: list[str] = []
    async for chunk in stream:
        texts.append(chunk.choices[0].delta.content or "")
        if "".join(texts) == "The answer" and len(house.provider.asked) == 1:
            await house.kill("prefills")
    assert "".join(texts) == "The answer is 42."
    assert house.provider.asked[1].body["messages"][-1] == {"role": "assistant", "content": "The answer"}


def everything_written(house: House, pids: set[int]) -> bytes:
    """Command lines, Redis' disk, logs."""
    told = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    files = [path for path in house.folder.rglob("*") if path.is_file() and path.suffix != ".json"]
    return b"".join(told + [path.read_bytes() for path in files])


async def test_a_key_is_on_no_command_line_not_in_redis_and_not_in_the_log(house: House) -> None:
    pids = {house.command.process.pid, *(card.pid for card in (await take_census(house.bus)).workers)}
    assert len(pids) == 4
    written = everything_written(house, pids)
    assert b"prefills" in written
    assert KEY.encode() not in written
    assert house.provider.asked[0].headers["authorization"] == f"Bearer {KEY}"
