"""The roles of ops/redis/users.acl on a real Redis: each can do its work, and nothing else."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from queuechat.allowance import Allowance
from queuechat.audit import audit
from queuechat.backlog import look_at_backlog
from queuechat.batches import Batch, add_batch, get_batch, new_batch_id
from queuechat.battles import Battle, Choice, Event, LogLine, Side, cast, new_battle_id, open_battle
from queuechat.battles import record as record_line
from queuechat.bus import Bus
from queuechat.bus.chores import Chores
from queuechat.bus.lua import library
from queuechat.cli import doctor
from queuechat.credentials import Bearer, KeyRing, add_key, list_keys, revoke_key
from queuechat.errors import Misconfigured, TooManyRequests, Unauthorized
from queuechat.leaderboard.results import Leaderboard, decode
from queuechat.letters import drop, list_letters, redrive
from queuechat.protocol import Chunk, End, ModelCard
from queuechat.rates import Rates
from queuechat.responses import (
    Record,
    delete_response,
    end_response,
    find_response,
    forget_response,
    put_response,
    read_events,
    state_of,
)
from queuechat.roster import Census, Model
from queuechat.settings import load
from queuechat.standings import publish, published, turn_to_rate
from queuechat.timeline import find_job
from queuechat.watching import take_reading
from tests.processes import Command
from tests.servers import OPS, Server, a_life, enqueue, opened, our_settings, role_file
from ui.gate.seal import open_seal

FORBIDDEN = """
FLUSHALL | FLUSHDB | CONFIG SET maxmemory 1 | CONFIG REWRITE | CONFIG RESETSTAT | EVAL return 0 | EVALSHA 00 0 | KEYS *
SCRIPT FLUSH | MONITOR | DEBUG SLEEP 0 | SHUTDOWN NOSAVE | ACL LIST | ACL SETUSER x | ACL WHOAMI | MODULE LIST
REPLICAOF 127.0.0.1 1 | SLAVEOF NO ONE | FAILOVER | BGSAVE | BGREWRITEAOF | SAVE | CLIENT LIST | CLIENT KILL TYPE normal
CLIENT PAUSE 1 | SWAPDB 0 1 | MIGRATE h 1 k 0 1 | RESTORE qc:{m}:x 0 x | DUMP qc:{m}:jobs | RENAME qc:{m}:jobs x
FUNCTION FLUSH | FUNCTION DELETE queuechat1 | FUNCTION RESTORE x | SYNC | PSYNC ? -1 | RANDOMKEY | DBSIZE
LATENCY RESET | SLOWLOG RESET | PSUBSCRIBE * | MEMORY DOCTOR
CLUSTER RESET | GETDEL qc:{m}:jobs | SORT qc:{m}:jobs | OBJECT HELP
SET else 1 | GET else | PUBLISH else x | SUBSCRIBE else
"""
DENIED_TO = {
    "api": "XREADGROUP GROUP workers w STREAMS qc:{m}:jobs > | HSET qc:key:x hash x | SADD qc:keys x | DEL qc:worker:x"
    " | SET qc:model:x x | CONFIG GET * | SCAN 0",
    "worker": "GET qc:page:secret | HGETALL qc:key:x | SCARD qc:keys | ZADD qc:limit:x:running 1 x | CONFIG GET *"
    " | SCAN 0",
    "background": "XREADGROUP GROUP workers w STREAMS qc:{m}:jobs > | HGETALL qc:key:x | SCARD qc:keys"
    " | SET qc:model:x x | CONFIG GET * | SCAN 0",
    "operator": "SET qc:model:x x | XREADGROUP GROUP workers w STREAMS qc:{m}:jobs >",
    "metrics": "HGETALL qc:{m}:job:x | XRANGE qc:{m}:log:x - + | FCALL qc1_depth 1 qc:{m}:jobs 1 | HGETALL qc:key:x"
    " | SET qc:{m}:depth x | CONFIG GET * | SCAN 0",
    "deploy": "XRANGE qc:{m}:jobs - + | HGETALL qc:key:x | SCAN 0 | CONFIG GET *",
}
MAY_LOAD = "FUNCTION LOAD x"


def commands(text: str) -> list[list[str]]:
    return [command.split() for line in text.strip().splitlines() for command in line.split(" | ")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("roles")
    # DEBUG is on, so that it is the role that refuses it.
    roles = ("--aclfile", str(role_file(folder)), "--enable-debug-command", "yes")
    started = Server(folder, our_settings(folder), *roles)
    yield started
    started.kill()


@pytest.fixture(autouse=True)
async def deployed(server: Server) -> None:
    async with opened(at(server, "deploy")):
        pass


def at(server: Server, role: str) -> str:
    return f"redis://{role}:{role}@127.0.0.1:{server.port}/0"


async def test_each_process_can_do_its_work_in_its_own_role(server: Server, model: str) -> None:
    async with opened(at(server, "api")) as front, opened(at(server, "worker")) as back:
        first, second, end = await a_life(front, back, model)
    assert isinstance(first, Chunk)
    assert isinstance(second, Chunk)
    assert isinstance(end, End)
    assert first.text + second.text == " 0 1"


async def test_an_operator_makes_keys_that_the_api_can_check_and_not_make(server: Server) -> None:
    async with opened(at(server, "operator")) as person, opened(at(server, "api")) as front:
        key, token = await add_key(person, "pepper", "somebody")
        assert (await KeyRing(front, "pepper").check(token)).id == key.id
        with pytest.raises(Misconfigured, match="refuses"):
            await add_key(front, "pepper", "me too")
        assert [known.id for known in await list_keys(person)] == [key.id]
        await revoke_key(person, key.id)
        with pytest.raises(Unauthorized):
            await KeyRing(front, "pepper", required=True).check(token)


async def test_an_operator_looks_after_dead_letters_and_the_api_after_the_places_of_a_key(
    server: Server, model: str
) -> None:
    roles = (at(server, role) for role in ("api", "worker", "operator"))
    front, back, person = [Bus(url) for url in roles]
    for bus in (front, back, person):
        await bus.open()
    bearer = Bearer("somebody", rpm=9, tpm=9)
    async with Rates(front).paid(bearer, "first", 1, 60, lambda _: None, lambda: 1):
        await Rates(front).wrong_key("10.0.0.1", 9)
    async with Allowance(front).place("somebody", 1, "first"):
        with pytest.raises(TooManyRequests):
            await Allowance(front).place("somebody", 1, "second").__aenter__()
    job = await enqueue(front, model)
    await until_dead(back, model)
    letters = await list_letters(person, [model])
    assert [letter.id for letter in letters] == [job.id]
    assert await redrive(person, letters) == ["OK"]
    assert (await find_job(person, [model], job.id)) is not None
    await until_dead(back, model)
    assert (await audit(person, model)).faults == []
    assert await drop(person, await list_letters(person, [model])) == 1
    for bus in (front, back, person):
        await bus.close()


@pytest.mark.parametrize("role", ["api", "operator"])
async def test_the_page_and_an_operator_watch_how_a_model_fares(server: Server, model: str, role: str) -> None:
    async with opened(at(server, "api")) as front, opened(at(server, role)) as watcher:
        await enqueue(front, model)
        reading = await take_reading(watcher, Census({model: Model(ModelCard(model), [])}))
    assert (reading.depths[model].waiting, reading.flows[model].came) == (1, 1)


@pytest.mark.parametrize("role", ["background", "operator"])
async def test_who_rates_votes_publishes_the_leaderboard_that_the_page_reads(server: Server, role: str) -> None:
    made = Leaderboard(1.0, 0, 0, 0.0, 1, 0, [], [])
    async with opened(at(server, role)) as rater, opened(at(server, "api")) as front:
        await turn_to_rate(rater, 60)
        await publish(rater, made)
        assert decode(await published(front) or b"") == made


async def test_the_page_knows_its_visitors_in_the_role_of_the_api(server: Server) -> None:
    async with opened(at(server, "api")) as front, opened(at(server, "api")) as other:
        assert (await open_seal(front)).digest("a", "b") == (await open_seal(other)).digest("a", "b")
        await Rates(front).ask("somebody", "question", 9)
        await Rates(front).try_password("10.0.0.1", 9)


async def test_the_api_stores_responses_in_its_own_role(server: Server, model: str) -> None:
    async with opened(at(server, "api")) as front:
        job = await enqueue(front, model)
        record = Record(job.id, "", model, b"{}")
        await put_response(front, record, 60)
        assert await find_response(front, job.id, "") == record
        assert await state_of(front, record) == "waiting"
        await end_response(front, record, b"{}", log_s=60)
        await delete_response(front, record)
        assert await read_events(front, record) == []
        await forget_response(front, job.id)


async def test_the_background_process_does_its_work_in_its_own_role(server: Server, tmp_path: Path) -> None:
    now = int(time.time())
    batch = Batch(new_batch_id(), "", "/v1/completions", f"file-{'0' * 32}", "24h", now, now + 60)
    chores = Chores(at(server, "api"))
    command = await Command.start(["background"], tmp_path, QUEUECHAT_REDIS_URL=at(server, "background"))
    async with opened(at(server, "api")) as front:
        await add_batch(front, batch)
        await chores.add("advance", batch.id, id=f"{batch.id}:0")
        while not (seen := await get_batch(front, batch.id)).ended:
            assert command.process.returncode is None, command.log.read_text()
            await asyncio.sleep(0.05)
        assert [error["code"] for error in seen.errors] == ["file_not_found"]
    await chores.close()
    assert await command.stop() == 0


async def test_votes_go_from_the_page_to_a_file_in_the_roles_of_both(server: Server, tmp_path: Path) -> None:
    sides = (Side("a", [{"role": "user", "content": "?"}]), Side("b", [{"role": "user", "content": "?"}]))
    battle = Battle(new_battle_id(), sides, True, "somebody", time.time())
    async with opened(at(server, "api")) as front, opened(at(server, "operator")) as person:
        await open_battle(front, battle)
        assert await cast(front, battle, Choice.TIE, time.time()) is Choice.TIE
        await record_line(front, LogLine(Event.SHARE, sides, "somebody", time.time(), battle=battle.id))
        assert (await look_at_backlog(person)).lines == 2
        command = await Command.start(["background"], tmp_path, QUEUECHAT_REDIS_URL=at(server, "background"))
        while (await look_at_backlog(person)).lines:
            assert command.process.returncode is None, command.log.read_text()
            await asyncio.sleep(0.05)
    assert await command.stop() == 0
    (file,) = (tmp_path / "arena").iterdir()
    assert file.read_bytes().count(battle.id.encode()) == 2


async def until_dead(back: Bus, model: str) -> None:
    deaths = 0
    while claims := await back.claim(model, f"w{deaths}", f"w{deaths}/1", room=1):
        await back.release(model, f"w{deaths}", [claims[0].job.id], crashed=True)
        deaths += 1


@pytest.mark.parametrize("role", DENIED_TO)
def test_a_role_is_refused_what_it_does_not_need(server: Server, role: str) -> None:
    forbidden = [*commands(FORBIDDEN), *commands(DENIED_TO[role])]
    if role != "deploy":
        forbidden.append(MAY_LOAD.split())
    if role == "background":
        forbidden.remove(["DBSIZE"])  # arq logs it
    assert len(forbidden) >= 30
    allowed = []
    for command in forbidden:
        try:
            allowed.append((command, server.ask(*command, username=role, password=role)))
        except redis.exceptions.NoPermissionError:
            continue
        except redis.exceptions.RedisError as error:
            allowed.append((command, error))
    assert allowed == []


def test_nobody_gets_in_without_a_role(server: Server) -> None:
    for command in ("PING", "INFO", "GET x", "HGETALL qc:key:x"):
        with pytest.raises(redis.exceptions.AuthenticationError):
            server.ask(*command.split())


def test_a_file_whose_passwords_were_not_set_is_refused_by_redis(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="password hash"):
        Server(tmp_path, "--aclfile", str(OPS / "users.acl"))


@pytest.mark.parametrize("role", ["api", "worker", "operator"])
async def test_a_process_that_may_not_load_our_functions_says_who_may(server: Server, role: str) -> None:
    server.ask("FUNCTION", "LOAD", "REPLACE", older(), username="deploy", password="deploy")
    with pytest.raises(Misconfigured, match=r"queuechat load-functions.*deploy"):
        async with opened(at(server, role)):
            pass


def older() -> str:
    text, revision, sha = library()
    return text.replace(f"{revision}:{sha}", "0:older")


def test_every_command_of_our_functions_is_allowed_to_some_role() -> None:
    granted = set(re.findall(r"\+([a-z|]+)", (OPS / "users.acl").read_text()))
    ours = {name.lower() for name in re.findall(r"redis\.call\('([A-Z]+)'", library()[0])}
    assert {name for name in ours if not any(name == word.split("|")[0] for word in granted)} == set()


def test_what_metrics_may_read_is_enough_for_an_autoscaler(server: Server) -> None:
    assert server.ask("GET", "qc:{m}:depth", username="metrics", password="metrics") is None
    assert b"used_memory" in server.ask("INFO", username="metrics", password="metrics")


@pytest.mark.parametrize("role", ["api", "operator", "metrics"])
def test_doctor_says_what_it_may_not_see(server: Server, role: str, tmp_path: Path) -> None:
    findings = list(doctor._redis(load(redis_url=at(server, role), state_dir=tmp_path)))
    told = {finding.what: finding.remedy for finding in findings}
    if role == "metrics":
        assert [finding.verdict for finding in findings] == ["bad"]
    elif role == "operator":
        assert "appendfsync always" in told
    else:
        assert "maxmemory-policy cannot be read with these credentials" in told


def test_the_settings_that_we_ship_are_ones_that_doctor_likes(server: Server, tmp_path: Path) -> None:
    loaded = load(redis_url=at(server, "operator"), state_dir=tmp_path)
    server_said = {f.what: f.verdict for f in doctor._redis(loaded) if f.verdict != "ok"}
    assert list(server_said) == ["maxmemory is not set"]
