"""The server as a process and in bad times: signals, draining, a Redis that dies and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from api.server import listen
from queuechat.bus import Bus
from queuechat.errors import Misconfigured
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.api.test_chat import ask, first_word
from tests.api.test_refusals import check
from tests.api.test_requests import events_of
from tests.conftest import free_port, start_redis

_PROCESS = """
import sys
from api.server import run
from queuechat.logs import setup
from queuechat.settings import Settings
setup("info")
run(Settings(_env_file=None, api_port=int(sys.argv[2]), drain_s=float(sys.argv[3])), sys.argv[1])
"""


class Process:
    """A server in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int):
        self.process, self.port = process, port
        self.sdk = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0)

    async def wait_for(self, words: str) -> None:
        assert self.process.stderr
        seen = b""
        while words.encode() not in seen:
            line = await self.process.stderr.readline()
            assert line, seen.decode()
            seen += line

    @classmethod
    async def start(cls, redis_url: str, drain_s: float) -> Process:
        port = free_port()
        arguments = (sys.executable, "-c", _PROCESS, redis_url, str(port), str(drain_s))
        process = cls(await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE), port)
        await process.wait_for("listening on http://127.0.0.1")
        return process


async def test_a_terminated_server_lets_its_streams_end_and_takes_no_new_ones(redis_url: str, hand: Hand) -> None:
    server = await Process.start(redis_url, 60)
    chunks, claim = await asyncio.gather(server.sdk.chat.completions.create(**ask(hand, stream=True)), first_word(hand))
    server.process.send_signal(signal.SIGTERM)
    await server.wait_for("draining")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
        assert (await http.get("/readyz")).json()["checks"]["draining"] == "yes"
        assert (await http.get("/livez")).status_code == 200
        refused = await http.post("/v1/chat/completions", json=ask(hand))
        check(refused, 503, "server_draining")
        assert refused.headers["retry-after"]
    await hand.say(claim, " and all")
    await hand.end(claim)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in chunks]) == "one and all"
    assert await server.process.wait() == 0


async def test_what_cannot_end_in_time_is_told_so_and_goes_on_for_who_comes_back(
    redis_url: str, hand: Hand, site: Site
) -> None:
    server = await Process.start(redis_url, 0)
    chunks, claim = await asyncio.gather(server.sdk.chat.completions.create(**ask(hand, stream=True)), first_word(hand))
    whole = asyncio.create_task(server.sdk.chat.completions.create(**ask(hand)))
    other = await hand.one()
    server.process.send_signal(signal.SIGTERM)
    with pytest.raises(openai.APIError) as caught:
        async for _ in chunks:
            pass
    assert caught.value.code == "server_draining"
    with pytest.raises(openai.InternalServerError) as refused:
        await whole
    assert refused.value.code == "server_draining"
    assert await server.process.wait() == 0
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["request_id"] == claim.job.id
    for left in (claim, other):
        await hand.say(left, " two")
        await hand.end(left)
    resumed = await site.http.get(f"/v1/requests/{claim.job.id}/events", params={"starting_after": 1})
    assert [event["text"] for kind, _, event in events_of(resumed.text)] == [" two", ""]
    assert hand.cancelled.empty()


async def test_a_second_signal_does_not_wait(redis_url: str, hand: Hand) -> None:
    server = await Process.start(redis_url, 600)
    chunks, _ = await asyncio.gather(server.sdk.chat.completions.create(**ask(hand, stream=True)), first_word(hand))
    server.process.send_signal(signal.SIGTERM)
    await server.wait_for("draining")
    server.process.send_signal(signal.SIGINT)
    with pytest.raises(openai.APIError):
        async for _ in chunks:
            pass
    assert await server.process.wait() == 0


def test_a_taken_port_is_said_plainly() -> None:
    with listen("127.0.0.1", 0) as held, pytest.raises(Misconfigured, match="cannot listen on"):
        listen("127.0.0.1", held.getsockname()[1])


def test_processes_may_share_a_port_when_they_say_so() -> None:
    with listen("127.0.0.1", 0, reuse_port=True) as one:
        listen("127.0.0.1", one.getsockname()[1], reuse_port=True).close()


async def test_a_server_that_all_may_use_warns_loudly(
    redis_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.server._is_loopback", lambda host: False)
    with caplog.at_level(logging.WARNING):
        async with a_site(redis_url):
            pass
        assert "ANYONE who can reach" in caplog.text
        caplog.clear()
        async with a_site(redis_url, api_keys="secret"):
            pass
        assert "ANYONE" not in caplog.text


class Mortal:
    """A Redis of the test's own, to kill."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.process = start_redis(folder, self.port)
        self.url = f"redis://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.process = start_redis(self.folder, self.port)


@pytest.fixture
def mortal(tmp_path: Path) -> Any:
    redis = Mortal(tmp_path)
    yield redis
    redis.kill()


@pytest.fixture
async def its_site(mortal: Mortal) -> AsyncIterator[Site]:
    async with a_site(mortal.url, drain_s=0) as site:
        yield site


@pytest.fixture
async def its_hand(mortal: Mortal, model: str) -> AsyncIterator[Hand]:
    bus = await Bus(mortal.url, patience_s=60).open()
    async with Hand(bus, model) as hand:
        yield hand
    await bus.close()


async def test_an_answer_goes_on_when_redis_has_died_and_come_back(
    mortal: Mortal, its_hand: Hand, its_site: Site
) -> None:
    chunks, claim = await asyncio.gather(
        its_site.sdk.chat.completions.create(**ask(its_hand, stream=True)), first_word(its_hand)
    )
    got = [""]
    async for chunk in chunks:
        got.append(chunk.choices[0].delta.content or "")
        if got[-1] == "one":
            mortal.kill()
            mortal.restart()
            await its_hand.say(claim, " two", " three")
            await its_hand.end(claim, text=".")
    assert "".join(got) == "one two three."


async def test_without_redis_the_server_says_that_it_is_not_ready(
    mortal: Mortal, its_hand: Hand, its_site: Site
) -> None:
    await its_site.house.roster.refresh()
    await its_site.http.get("/v1/models")  # the server has seen that there are no keys
    mortal.kill()
    ready = await its_site.http.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["redis"]) == (503, "unreachable")
    refused = await its_site.post("/v1/chat/completions", ask(its_hand))
    message = check(refused, 503, "bus_unavailable")
    assert str(mortal.port) not in message
    assert int(refused.headers["retry-after"]) >= 1
    metrics = await its_site.http.get("/metrics")
    assert (metrics.status_code, "queuechat_redis_up 0.0" in metrics.text) == (200, True)
    mortal.restart()
    ready = await its_site.http.get("/readyz")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            while ready.status_code != 200:
                await asyncio.sleep(0.01)
                ready = await its_site.http.get("/readyz")
    assert ready.status_code == 200, ready.text
    await its_hand.beat()  # its card may have lapsed meanwhile
    await its_site.house.roster.refresh()
    asked = asyncio.create_task(its_site.post("/v1/chat/completions", ask(its_hand)))
    told = asyncio.create_task(its_hand.tell("back"))
    await asyncio.wait({asked, told}, return_when=asyncio.FIRST_COMPLETED)
    assert told.done() or (await asked).status_code == 200, (await asked).text
    assert (await asked).json()["choices"][0]["message"]["content"] == "back"
