"""A background response whose server and worker are both killed: it is completed, and told again from event 0."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from queuechat.bus import Bus
from queuechat.timeline import find_job
from tests.api.responses import PATH, events, events_of, kinds
from tests.conftest import free_port
from tests.processes import Command, Workers

_TOKENS = 150


class Servers:
    """API servers as a user starts them."""

    def __init__(self, redis_url: str, folder: Path):
        self._redis_url, self._folder = redis_url, folder
        self._commands: list[Command] = []

    async def start(self) -> tuple[Command, str]:
        """One that listens, and where."""
        port = free_port()
        env = {"QUEUECHAT_REDIS_URL": self._redis_url, "QUEUECHAT_GRACE_S": "0.5"}
        command = await Command.start(["api", "--port", str(port)], self._folder, **env)
        self._commands.append(command)
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient() as http:
            while True:
                assert command.process.returncode is None, command.log.read_text()
                with contextlib.suppress(httpx.TransportError):
                    await http.get(f"{url}/livez")
                    return command, url
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        await asyncio.gather(*(command.stop() for command in self._commands))


@pytest.fixture
async def servers(redis_url: str, tmp_path: Path) -> AsyncIterator[Servers]:
    started = Servers(redis_url, tmp_path / "api")
    yield started
    await started.stop()


async def read_until_cut(http: httpx.AsyncClient, url: str, body: dict[str, Any], command: Command) -> str:
    """Its text until the server is killed, which happens when some of the answer is there."""
    text = ""
    with contextlib.suppress(httpx.TransportError):
        async with http.stream("POST", url + PATH, json=body) as response:
            async for part in response.aiter_text():
                text += part
                if text.count("output_text.delta") >= 10:
                    command.send(signal.SIGKILL)
    return text.rpartition("\n\n")[0] + "\n\n"


async def replay(http: httpx.AsyncClient, url: str, id: str) -> list[dict[str, Any]]:
    async with http.stream("GET", f"{url}{PATH}/{id}", params={"stream": "true"}) as response:
        return await events(response)


async def test_it_is_completed_and_streamed_again_from_its_first_event(
    bus: Bus, workers: Workers, servers: Servers, model: str
) -> None:
    (victim, url), (_, second), (_, third) = [await servers.start() for _ in range(3)]
    worker = await workers.start("echo", model, "--echo-rate", "50")
    body = {"model": model, "input": "Tell me", "background": True, "stream": True, "max_output_tokens": _TOKENS}
    async with httpx.AsyncClient(timeout=60) as http:
        seen = events_of(await read_until_cut(http, url, {**body, "seed": 7}, victim))
        worker.send(signal.SIGKILL)
        assert await victim.process.wait() == -signal.SIGKILL
        await workers.start("echo", model, "--echo-rate", "400")
        id = seen[0]["response"]["id"]
        while not (job := await find_job(bus, [model], id.removeprefix("resp_"))) or not job.over:
            await asyncio.sleep(0.05)  # nobody reads it, for longer than its server would let others go on
        assert (job.state, job.tokens, job.epoch) == ("length", _TOKENS, 2)
        one, two = await replay(http, second, id), await replay(http, third, id)
        whole = (await http.get(f"{third}{PATH}/{id}")).json()
        alone = {**body, "seed": 7, "stream": False, "background": False}
        undisturbed = (await http.post(second + PATH, json=alone)).json()
    assert one == two
    assert one[: len(seen)] == seen
    assert [event["sequence_number"] for event in one] == list(range(len(one)))
    assert (kinds(one)[0], kinds(one)[-1]) == ("created", "incomplete")
    assert one[-1]["response"] == whole
    text = "".join(event["delta"] for event in one if event["type"] == "response.output_text.delta")
    assert text == whole["output"][0]["content"][0]["text"] == undisturbed["output"][0]["content"][0]["text"]
