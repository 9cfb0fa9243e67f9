"""Commands that check: the audit, and the functions that an upgrade brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from queuechat import keys
from queuechat.bus.lua import library
from tests.api.hand import Hand
from tests.cli.command import Cli
from tests.contract.steps import buried, waiting
from tests.servers import Server, opened, our_settings, role_file


async def test_an_audit_of_a_healthy_model_finds_nothing(cli: Cli, hand: Hand) -> None:
    await waiting(hand.bus, hand.model, 2)
    await buried(hand.bus, f"{hand.model}-unannounced")
    code, out, _ = await cli("audit", "--model", hand.model)
    assert (code, [line.split() for line in out.splitlines()][1]) == (0, [hand.model, "2", "0", "0"])
    reports = {row["model"]: row for row in await cli.json("audit")}
    assert reports[hand.model] == {"model": hand.model, "jobs": 2, "usage": 0, "faults": []}
    assert reports[f"{hand.model}-unannounced"]["usage"] == 1


async def test_an_audit_that_finds_a_fault_says_it_and_ends_with_exit_code_one(cli: Cli, hand: Hand) -> None:
    (job,) = await waiting(hand.bus, hand.model, 1)
    await hand.bus.connection.command("ZREM", keys.deadlines(hand.model), job.id)
    try:
        code, out, _ = await cli("audit")
        assert code == 1
        assert f"{hand.model} {job.id}: alive, but its deadline is not noted" in out
        (report,) = await cli.json("audit", "-m", hand.model)
        assert [fault["id"] for fault in report["faults"]] == [job.id]
    finally:
        await hand.bus.cancel(hand.model, [job.id])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis with our roles, to which nobody has brought our functions yet."""
    folder = tmp_path_factory.mktemp("roles")
    started = Server(folder, our_settings(folder), "--aclfile", str(role_file(folder)))
    yield started
    started.kill()


def url(server: Server, role: str) -> str:
    return f"redis://{role}:{role}@127.0.0.1:{server.port}/0"


async def test_an_upgrade_brings_the_functions_with_a_role_that_may(server: Server, tmp_path: Path) -> None:
    code, _, err = await Cli(url(server, "operator"), tmp_path)("load-functions")
    assert (code, "queuechat load-functions" in err) == (1, True)
    _, revision, sha = library()
    code, out, err = await Cli(url(server, "deploy"), tmp_path)("load-functions")
    assert (code, err) == (0, "")
    assert out.endswith(f": revision {revision} ({sha})\n")
    assert "deploy:deploy" not in out
    assert (await Cli(url(server, "operator"), tmp_path)("load-functions"))[0] == 0


async def test_an_operator_may_do_all_that_operators_do(server: Server, model: str, tmp_path: Path) -> None:
    deploy, operator = Cli(url(server, "deploy"), tmp_path), Cli(url(server, "operator"), tmp_path)
    await deploy("load-functions")
    async with opened(url(server, "worker")) as bus, Hand(bus, model) as hand:
        first, second = await buried(bus, model), await buried(bus, model)
        (waits,) = await waiting(bus, model, 1)
        for command in (
            *(("ps",), ("queues",), ("models",), ("audit",), ("dead", "list"), ("dead", "show", first.id)),
            *(("dead", "redrive", first.id), ("dead", "drop", second.id), ("jobs", "list"), ("jobs", "show", waits.id)),
            *(("jobs", "cancel", waits.id), ("cancel", first.id), ("worker", "drain", hand.name)),
            *(("keys", "add", "ci"), ("keys", "list")),
        ):
            code, _, err = await operator(*command)
            assert code == 0, (command, err)
