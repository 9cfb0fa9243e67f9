"""Commands that look, as a user types them: what they print, their JSON, their exit codes."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Literal

import pytest

from queuechat.cli.app import HOMES
from queuechat.protocol import Job, new_id
from tests.api.hand import Hand
from tests.cli.command import run
from tests.processes import Workers


async def test_without_redis_every_question_says_what_to_do(tmp_path: Path) -> None:
    code, out, err = await run("ps", url=None, folder=tmp_path)
    assert (code, out) == (1, "")
    assert "QUEUECHAT_REDIS_URL" in err
    assert "Traceback" not in err


async def test_workers_models_and_queues_are_listed_for_people_and_for_programs(
    redis_url: str, workers: Workers, model: str, tmp_path: Path
) -> None:
    await workers.start("echo", f"{model},{model}-alias")
    for command in ("ps", "models", "queues"):
        code, out, _ = await run(command, url=redis_url, folder=tmp_path)
        assert (code, model in out) == (0, True)
    _, out, _ = await run("ps", "--json", url=redis_url, folder=tmp_path)
    (card,) = [row for row in json.loads(out) if row["model"] == model]
    assert (card["engine"], card["state"]) == ("echo", "ready")
    _, out, _ = await run("models", "--json", url=redis_url, folder=tmp_path)
    (row,) = [row for row in json.loads(out) if row["name"] == model]
    assert (row["aliases"], row["status"], row["workers"]) == ([f"{model}-alias"], "ready", 1)
    _, out, _ = await run("queues", "--json", url=redis_url, folder=tmp_path)
    assert json.loads(out)[model]["waiting"] == 0
    _, out, _ = await run("queues", "--explain", url=redis_url, folder=tmp_path)
    assert f"redis-cli XPENDING 'qc:{{{model}}}:jobs' workers" in out


async def test_the_explained_commands_give_the_numbers_of_the_table(redis_url: str, hand: Hand, tmp_path: Path) -> None:
    lanes: tuple[Literal["jobs", "bulk"], ...] = ("jobs", "jobs", "jobs", "jobs", "bulk", "bulk", "bulk")
    for lane in lanes:
        await hand.bus.enqueue([Job(new_id(), hand.model, prompt="x", lane=lane)], limit=0, grace_s=0)
    await hand.bus.claim(hand.model, hand.name, f"{hand.name}/x", room=1)
    await hand.bus.claim(hand.model, hand.name, f"{hand.name}/y", room=1, bulk_room=3)
    _, out, _ = await run("queues", "--json", url=redis_url, folder=tmp_path)
    depth = json.loads(out)[hand.model]
    _, out, _ = await run("queues", "--explain", url=redis_url, folder=tmp_path)
    told = out.partition(f"\n{hand.model}:")[2].partition("\n\n")[0]
    commands = [shlex.split(line.partition("redis-cli ")[2], comments=True) for line in told.splitlines()[1:5]]
    first, second, jobs, bulk = [await hand.bus.connection.command(*command) for command in commands]
    running, running_bulk = first["pending"], second["pending"]
    assert running_bulk > 0
    assert depth["running"] == running + running_bulk
    assert depth["waiting"] == jobs - running
    assert depth["bulk_waiting"] == bulk - running_bulk


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("worker", "--model", "./nowhere"), "there is no folder"),
        (("worker", "--model", "nowhere.gguf"), "there is no file"),
        (("worker", "--model", "echo", "--engine", "warp"), "choose echo, llamacpp, transformers, vllm, remote"),
        (("worker", "--model", "echo", "--engine", "llamacpp"), "cannot run model"),
        (("worker", "--model", "echo", "--name", "a b"), "letters, digits"),
        (("worker", "--engine", "remote", "--model", "m"), "--endpoints FILE, or --model with --api-base URL"),
        (("worker", "--endpoints", "nowhere.json"), "nowhere.json: No such file"),
        (
            ("worker", "--model", "m", "--api-base", "http://h/v1", "--device", "cpu"),
            "--device means nothing to engine",
        ),
        (("worker", "--model", "echo", "--engine", "echo", "--api-type", "openai"), "are for engine 'remote'"),
        (("worker", "--model", "echo", "--chat-template", "klingon"), "chatml"),
        (("cancel", "chatcmpl-0000"), "no request"),
        (("chat", "-m", "nobody", "hi"), "does not exist"),
        (("keys", "revoke", "nobody"), "no key"),
    ],
)
async def test_what_cannot_work_is_said_in_a_line(
    redis_url: str, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    code, _, err = await run(*arguments, url=redis_url, folder=tmp_path)
    assert code == 1
    assert says in err
    assert "Traceback" not in err


async def test_config_show_masks_secrets_and_names_sources(tmp_path: Path) -> None:
    _, out, _ = await run("config", "show", "--json", url="redis://:hunter2@h/0", folder=tmp_path)
    assert "hunter2" not in out
    assert json.loads(out)["redis_url"]["source"] == "QUEUECHAT_REDIS_URL"


async def test_looking_imports_neither_torch_nor_the_servers(redis_url: str, tmp_path: Path) -> None:
    probe = (
        "import sys; sys.argv = ['queuechat', 'ps']; import queuechat.cli.app as a\n"
        "try: a.main()\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'fastapi', 'gradio', 'xllamacpp'} & set(sys.modules)))"
    )
    env = {"QUEUECHAT_REDIS_URL": redis_url, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", probe, env=env, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.decode().splitlines()[-1] == "[]"


async def test_every_command_comes_from_the_module_that_is_said_to_bring_it() -> None:
    probe = (
        "import os, sys; from queuechat.cli import app as a\n"
        "for command in sys.argv[1:]:\n"
        "    if os.fork():\n"
        "        os.wait()\n"
        "        continue\n"
        "    a.register(command)\n"
        "    print(*(c.name or c.callback.__name__ for c in a.app.registered_commands),"
        " *(g.name for g in a.app.registered_groups))\n"
        "    break\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", probe, *(commands[-1] for commands in HOMES.values())), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    brought = [set(line.split()) for line in out.decode().splitlines()]
    for (module, commands), names in zip(HOMES.items(), brought, strict=True):
        assert set(commands) <= names, module
    assert set().union(*brought) == {command for commands in HOMES.values() for command in commands}
