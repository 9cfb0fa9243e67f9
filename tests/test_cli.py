"""The command as a user types it: what it prints, its JSON, its exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.client import with_choices
from queuechat.protocol import Failure, Job, Reason, choice_id, new_id
from tests.api.hand import Hand
from tests.processes import Workers

Env = dict[str, str]


@pytest.fixture
async def workers(redis_url: str, bus: Bus, tmp_path: Path) -> object:
    started = Workers(redis_url, bus, tmp_path / "w")
    yield started
    await started.stop()


async def run(
    *arguments: str, url: str | None, folder: Path, stdin: bytes = b"", more: Env | None = None
) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    env = {"PATH": "/usr/bin:/bin", "QUEUECHAT_STATE_DIR": str(folder), "COLUMNS": "200", "HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queuechat", *arguments),
        env=env | ({"QUEUECHAT_REDIS_URL": url} if url else {}) | (more or {}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


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


async def test_a_question_is_answered_on_standard_output_and_the_footer_is_not_in_it(
    redis_url: str, workers: Workers, model: str, tmp_path: Path
) -> None:
    await workers.start("echo", model)
    asked = ("chat", "-m", model, "--max-tokens", "5", "--seed", "1")
    code, out, err = await run(*asked, "hello", url=redis_url, folder=tmp_path)
    assert (code, len(out.split())) == (0, 5)
    assert "5 tokens" in err
    _, piped, _ = await run(*asked, url=redis_url, folder=tmp_path, stdin=b"hello")
    assert piped == out


@pytest.fixture
async def hand(bus: Bus, model: str) -> AsyncIterator[Hand]:
    async with Hand(bus, model) as opened:
        yield opened


async def test_a_question_keeps_to_the_deadline_and_the_grace_of_the_settings(
    redis_url: str, hand: Hand, tmp_path: Path
) -> None:
    limits = {"QUEUECHAT_DEADLINE_S": "33", "QUEUECHAT_GRACE_S": "44"}
    asked = asyncio.create_task(run("chat", "-m", hand.model, "hi", url=redis_url, folder=tmp_path, more=limits))
    claim = await hand.one()
    grace = await hand.bus.connection.command("HGET", keys.job(hand.model, claim.job.id), "grace")
    assert (claim.job.deadline_s, grace) == (33, b"44000")
    await hand.end(claim)
    assert (await asked)[0] == 0


async def test_a_question_without_a_full_answer_ends_with_exit_code_one(
    redis_url: str, hand: Hand, tmp_path: Path
) -> None:
    asked = asyncio.create_task(run("chat", "-m", hand.model, "hi", url=redis_url, folder=tmp_path))
    claim = await hand.one()
    await hand.say(claim, "half")
    await hand.end(claim, Reason.ERROR, error=Failure("job_failed", "it broke"))
    code, out, err = await asked
    assert (code, out) == (1, "half\n")
    assert "[it broke]" in err


async def test_a_conversation_goes_on_without_the_question_that_failed(
    redis_url: str, hand: Hand, tmp_path: Path
) -> None:
    terminal, its_end = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queuechat", "chat", "-m", hand.model),
        env={"PATH": "/usr/bin:/bin", "QUEUECHAT_REDIS_URL": redis_url, "HOME": str(tmp_path)},
        stdin=its_end,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(its_end)
    os.write(terminal, b"one\ntwo\ntwo\nthree\n\x04")
    await hand.tell("uno")
    claim = await hand.one()
    await hand.say(claim, "half")
    await hand.end(claim, Reason.ERROR, error=Failure("job_failed", "it broke"))
    await hand.tell("dos")
    last = await hand.tell("tres")
    assert await process.wait() == 0
    os.close(terminal)
    assert last.job.messages is not None
    assert [turn["content"] for turn in last.job.messages] == ["one", "uno", "two", "dos", "three"]


async def test_a_cancelled_request_is_cancelled_with_all_its_answers(
    redis_url: str, hand: Hand, tmp_path: Path
) -> None:
    id = new_id()
    jobs = with_choices(Job(id, hand.model, prompt="x"), 3, [choice_id(id, k) for k in range(3)])
    await hand.bus.enqueue(jobs, limit=0, grace_s=0)
    code, out, _ = await run("cancel", f"chatcmpl-{id}", url=redis_url, folder=tmp_path)
    assert (code, out) == (0, "cancelled\n")
    assert {seen.state for seen in await hand.bus.watch(hand.model, [job.id for job in jobs])} == {"cancelled"}
    code, out, _ = await run("cancel", id, url=redis_url, folder=tmp_path)
    assert (code, out) == (0, "had ended already\n")


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
        (("worker", "--model", "echo", "--engine", "warp"), "choose echo, transformers or llamacpp"),
        (("worker", "--model", "echo", "--engine", "llamacpp"), "cannot run model"),
        (("worker", "--model", "echo", "--name", "a b"), "letters, digits"),
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


async def test_keys_are_made_listed_and_revoked(redis_url: str, tmp_path: Path) -> None:
    _, token, _ = await run("keys", "add", "ci", url=redis_url, folder=tmp_path)
    id = token.split("_")[1]
    _, out, _ = await run("keys", "list", "--json", url=redis_url, folder=tmp_path)
    assert "hash" not in json.loads(out)[0]
    assert id in {row["id"] for row in json.loads(out)}
    code, _, err = await run("keys", "revoke", id, url=redis_url, folder=tmp_path)
    assert (code, "last key" in err) == (0, True)


async def test_doctor_finds_a_redis_that_may_lose_requests(redis_url: str, bus: Bus, tmp_path: Path) -> None:
    _, well, _ = await run("doctor", url=redis_url, folder=tmp_path)
    assert "appendfsync always" in well
    await bus.connection.command("CONFIG", "SET", "appendfsync", "everysec")
    try:
        _, ill, _ = await run("doctor", url=redis_url, folder=tmp_path)
    finally:
        await bus.connection.command("CONFIG", "SET", "appendfsync", "always")
    assert "redis-cli CONFIG SET appendfsync always" in ill


async def test_doctor_warns_of_an_open_address_until_there_is_a_key(redis_url: str, tmp_path: Path) -> None:
    url, there = f"{redis_url}/7", {"QUEUECHAT_HOST": "0.0.0.0"}  # a database of its own: other tests make keys
    _, ill, _ = await run("doctor", url=url, folder=tmp_path, more=there)
    assert "the API listens on 0.0.0.0" in ill
    await run("keys", "add", "ci", url=url, folder=tmp_path)
    _, well, _ = await run("doctor", url=url, folder=tmp_path, more=there)
    assert "the API listens on" not in well


async def test_doctor_warns_of_an_open_address_when_it_cannot_see_the_keys(tmp_path: Path) -> None:
    _, out, _ = await run("doctor", url="redis://127.0.0.1:1", folder=tmp_path, more={"QUEUECHAT_HOST": "0.0.0.0"})
    assert "the API listens on 0.0.0.0" in out


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
