"""Redis servers that are not plain: with roles, with TLS, a master under sentinels, a cluster; and one job's life."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import redis

from queuechat import keys
from queuechat.bus import Bus, Claim, Item, Verdict
from queuechat.embedded import find_server
from queuechat.protocol import Chunk, End, Job, ModelCard, Reason, WorkerCard, decode_event, new_id
from queuechat.roster import take_census
from tests.conftest import free_port

OPS = Path(__file__).parent.parent / "ops" / "redis"
ROLES = ("api", "worker", "background", "operator", "metrics", "deploy", "replica", "sentinel")

Event = Chunk | End


class Server:
    """One redis-server that a test may kill. `ready` is what its log says when it is up."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, ready: str = "Ready to accept"):
        folder.mkdir(exist_ok=True)
        self.folder, self.port = folder, port or free_port()
        self._log = folder / "redis.log"
        conf = [options[0]] if options and not options[0].startswith("--") else []
        command = [str(find_server()), *conf, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        with self._log.open("w") as log:  # what it says before it has read the name of its log
            command += ["--logfile", str(self._log), *options[len(conf) :]]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: self.process.poll() is not None or ready in self.said())
        if self.process.poll() is not None:
            raise RuntimeError(self.said())

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def said(self) -> str:
        return self._log.read_text()

    def ask(self, *command: object, **login: str) -> Any:
        """One command by an administrator, answered raw."""
        client = redis.Redis(port=self.port, socket_timeout=5, lib_name=None, lib_version=None, **login)  # type: ignore[arg-type]
        with contextlib.closing(client):
            connection: Any = client.connection_pool.get_connection()
            connection.send_command(*command)
            return connection.read_response()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def until(true: Callable[[], object]) -> None:
    """Wait for what another process does."""
    while not true():
        time.sleep(0.01)


async def eventually(true: Callable[[], object]) -> None:
    """The same while our event loop goes on."""
    while not await asyncio.to_thread(true):
        await asyncio.sleep(0.01)


def our_settings(folder: Path) -> str:
    """redis.conf as we ship it, but for the folder of its container."""
    folder.mkdir(exist_ok=True)
    file = folder / "redis.conf"
    file.write_text((OPS / "redis.conf").read_text().replace("\ndir /data\n", "\n"))
    return str(file)


def role_file(folder: Path) -> Path:
    """users.acl with passwords set: each role's is its name."""
    text = (OPS / "users.acl").read_text()
    for role in ROLES:
        text = text.replace(f"SHA256_OF_{role.upper()}_PASSWORD", hashlib.sha256(role.encode()).hexdigest())
    folder.mkdir(exist_ok=True)
    file = folder / "users.acl"
    file.write_text(text)
    return file


@contextlib.asynccontextmanager
async def opened(url: str, *, patience_s: float = 60) -> AsyncIterator[Bus]:
    bus = Bus(url, patience_s=patience_s)
    try:
        yield await bus.open()
    finally:
        await bus.close()


async def announce(bus: Bus, model: str, worker: str) -> None:
    """What a supervisor says of itself each second."""
    now, card = int(time.time() * 1000), WorkerCard(worker, model, engine="hand", state="ready", capacity=8)
    await bus.connection.insist(
        [
            ("SET", keys.worker_card(worker), card.encode(), "PX", 60_000),
            ("ZADD", keys.WORKERS, now, worker),
            ("ZREMRANGEBYSCORE", keys.WORKERS, "-inf", 0),
            ("ZADD", keys.MODELS, now, model),
            ("SET", keys.model_card(model), ModelCard(model).encode(), "EX", 60),
        ]
    )


async def enqueue(bus: Bus, model: str) -> Job:
    job = Job(id=new_id(), model=model, prompt="hi")
    await bus.enqueue([job], limit=100, grace_s=0, idem=(job.id, "body"))
    return job


def a_worker(model: str) -> str:
    return f"w-{model}"


async def claim(bus: Bus, model: str, worker: str = "", nonce: str = "1") -> Claim:
    """The one job that waits, taken even if Redis has just gone."""
    worker = worker or a_worker(model)
    while True:
        with contextlib.suppress(Exception):
            (claim,) = await bus.claim(model, worker, f"{worker}/{nonce}", room=1, again=True)
            return claim
        await asyncio.sleep(0.02)


async def say(bus: Bus, claim: Claim, offset: int) -> Verdict:
    """Publish one token whose id is its offset."""
    chunk = Chunk(offset, 1, f" {offset}", [offset])
    before = str(offset) if offset else ""
    item = Item(claim.job.id, claim.nonce, offset, 1, before, str(offset + 1), chunk.encode())
    return (await bus.publish(claim.job.model, [item]))[0]


async def finish(bus: Bus, claim: Claim, offset: int) -> Verdict:
    done = End(Reason.STOP, offset, prompt_tokens=1)
    return (await bus.finish(claim.job.model, [(claim.job.id, claim.nonce, done)]))[0]


async def a_life(front: Bus, back: Bus, model: str) -> list[Event]:
    """A job from the queue to its end, as API (`front`) and worker (`back`) see it: what the API heard of it."""
    await announce(back, model, a_worker(model))
    assert (await take_census(front)).resolve(model).live
    job = await enqueue(front, model)
    assert [(sight.state, sight.place) for sight in await front.watch(model, [job.id])] == [("waiting", 1)]
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    subscription = await front.listener.subscribe(keys.out(model, job.id), heard.put_nowait)
    first = await claim(back, model)
    assert await say(back, first, 0) is Verdict.OK
    assert await back.renew(model, a_worker(model)) == {job.id: Verdict.OK}
    assert await back.release(model, a_worker(model), crashed=False) == 1
    heir = await claim(back, model, "v")
    assert await say(back, heir, 1) is Verdict.OK
    assert await finish(back, heir, 2) is Verdict.OK
    events = [decode_event(await heard.get()) for _ in range(3)]
    await front.listener.unsubscribe(subscription)
    assert [decode_event(entry.raw) for entry in await front.read_log(model, job.id)] == events
    await _an_end_by_cancelling(front, back, model)
    return events


async def _an_end_by_cancelling(front: Bus, back: Bus, model: str) -> None:
    job = await enqueue(front, model)
    told: asyncio.Queue[bytes] = asyncio.Queue()
    subscription = await back.listener.subscribe(keys.control(a_worker(model)), told.put_nowait)
    taken = await claim(back, model, nonce="2")
    assert await front.cancel(model, [job.id]) == ["OK"]
    assert await told.get() == f"cancel {job.id}".encode()
    await back.listener.unsubscribe(subscription)
    assert await say(back, taken, 0) is Verdict.CANCEL
    cancelled = End(Reason.CANCELLED, 0)
    assert await back.finish(model, [(job.id, taken.nonce, cancelled)]) == [Verdict.OK]
    assert await back.expire(model) == 0
    for worker in (a_worker(model), "v"):
        await back.leave(model, worker)
    depth = await front.depth(model)
    assert (depth.waiting, depth.running) == (0, 0)
