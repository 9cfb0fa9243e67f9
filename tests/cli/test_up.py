"""`queuechat up`: everything on one machine, with as many models as were named."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from queuechat.bus import Bus
from queuechat.protocol import WorkerCard
from queuechat.roster import take_census
from tests.cli.command import Cli
from tests.conftest import free_port
from tests.processes import Command


async def until_said(command: Command, text: str) -> str:
    async with asyncio.timeout(120):
        while text not in (said := command.log.read_text()):
            assert command.process.returncode is None, said
            await asyncio.sleep(0.1)
    return said


async def drained(bus: Bus, model: str, cli: Cli) -> WorkerCard:
    (card,) = [worker for worker in (await take_census(bus)).workers if worker.model == model]
    assert (await cli("worker", "drain", card.id, "--wait"))[0] == 0
    return card


async def test_each_model_that_was_named_gets_a_worker_and_one_that_is_drained_takes_nobody_along(
    redis_url: str, tmp_path: Path
) -> None:
    url = f"{redis_url}/8"
    ports = ("--port", str(free_port()), "--ui-port", str(free_port()))
    bus = await Bus(url).open()
    arguments = ["up", "--model", "echo", "--model", "smollm2-q4", *ports]
    command = await Command.start(arguments, tmp_path, QUEUECHAT_REDIS_URL=url)
    try:
        await until_said(command, "echo and smollm2-q4 answer")
        await drained(bus, "echo", Cli(url, tmp_path))
        await until_said(command, "the worker was drained")
        assert [worker.model for worker in (await take_census(bus)).workers] == ["smollm2-q4"]
        command.send(signal.SIGTERM)
        assert await command.process.wait() == 0
        assert (await take_census(bus)).workers == []
    finally:
        await command.stop()
        await bus.close()


async def test_one_name_is_not_for_several_models(cli: Cli) -> None:
    code, _, err = await cli("up", "--model", "echo", "--model", "smollm2", "--name", "m")
    assert (code, "--name" in err) == (2, True)
