"""The command as a user types it: what it prints, its JSON, its exit codes."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from queuechat.bus import Bus
from tests.processes import Workers


@pytest.fixture
async def workers(redis_url: str, bus: Bus, tmp_path: Path) -> object:
    started = Workers(redis_url, bus, tmp_path / "w")
    yield started
    await started.stop()


async def run(*arguments: str, url: str | None, folder: Path, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    env = {"PATH": "/usr/bin:/bin", "QUEUECHAT_STATE_DIR": str(folder), "COLUMNS": "200", "HOME": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queuechat", *arguments),
        env=env | ({"QUEUECHAT_REDIS_URL": url} if url else {}),
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
