"""The same jobs on a cluster and under sentinels, which lose a part."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuechat import keys
from queuechat.bus import Verdict
from queuechat.bus.cluster import slot_of
from queuechat.errors import BusUnavailable, Misconfigured
from queuechat.protocol import Chunk, End, decode_event
from queuechat.roster import take_census, take_depths
from tests.conftest import free_port
from tests.servers import (
    OPS,
    Server,
    a_life,
    claim,
    enqueue,
    eventually,
    finish,
    opened,
    our_settings,
    role_file,
    say,
    until,
)

THIRD = 16384 // 3 + 1


class Cluster:
    """Three primaries, and a replica of the first."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.primaries = [self._start(f"primary{n}") for n in range(3)]
        self.replica = self._start("replica")
        self.all = [*self.primaries, self.replica]
        for n, server in enumerate(self.primaries):
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            server.ask("CLUSTER", "ADDSLOTSRANGE", n * THIRD, min((n + 1) * THIRD, 16384) - 1)
        for server in self.all[1:]:
            self.meet(server)
        until(lambda: all(self.known(server) == 4 for server in self.all))
        self.replica.ask("CLUSTER", "REPLICATE", self.primaries[0].ask("CLUSTER", "MYID"))
        until(lambda: all(b"cluster_state:ok" in server.ask("CLUSTER", "INFO") for server in self.all))
        until(lambda: b"master_link_status:up" in self.replica.ask("INFO", "replication"))

    def _start(self, name: str) -> Server:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "800", "--cluster-port", str(free_port()))
        # A replica fails over at once, however long ago it heard of its primary.
        more = ("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0")
        return Server(self.folder / name, our_settings(self.folder / name), *options, *more)

    def join(self) -> Server:
        """One more primary, with no slots and without our functions."""
        server = self._start(f"late{len(self.all)}")
        self.all.append(server)
        self.meet(server)
        until(lambda: all(self.known(one) == len(self.all) for one in self.all))
        until(lambda: b"cluster_state:ok" in server.ask("CLUSTER", "INFO"))
        return server

    def meet(self, server: Server) -> None:
        knows = self.primaries[0]
        server.ask("CLUSTER", "MEET", "127.0.0.1", knows.port, knows.ask("CONFIG", "GET", "cluster-port")[1])

    @staticmethod
    def known(server: Server) -> int:
        return str(server.ask("CLUSTER", "NODES"), "ascii").count("connected")

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.primaries)}/0"

    def model_on(self, server: Server) -> str:
        """A name whose keys live there."""
        place = self.primaries.index(server)
        return next(name for name in map("model-{}".format, range(1000)) if slot(name) // THIRD == place)

    def kill(self) -> None:
        for server in self.all:
            server.kill()


def slot(model: str) -> int:
    found = slot_of(("EXISTS", keys.jobs(model)))
    assert found is not None
    return found


def listens_at(server: Server) -> bool:
    return b"qc:listener" in server.ask("PUBSUB", "CHANNELS", "qc:listener")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.kill()


async def test_models_on_all_nodes_of_a_cluster_are_served_through_one_address(cluster: Cluster) -> None:
    models = [cluster.model_on(server) for server in cluster.primaries]
    async with opened(cluster.url) as front, opened(cluster.url) as back:
        lives = await asyncio.gather(*(a_life(front, back, model) for model in models))
        assert [[type(event) for event in life] for life in lives] == [[Chunk, Chunk, End]] * 3
        assert set((await take_census(front)).models) == set(models)
        assert set(await take_depths(front, models)) == set(models)
        assert await front.find_keys("qc:{model-*}:jobs") == sorted(keys.jobs(model) for model in models)
        assert len(await front.connection.everywhere("PING")) == 3


async def test_while_a_slot_moves_calls_wait_and_its_new_node_gets_our_functions(cluster: Cluster) -> None:
    old, new = cluster.primaries[1], cluster.join()
    model = next(name for name in map("late-{}".format, range(1000)) if slot(name) // THIRD == 1)
    moving = slot(model)
    async with opened(cluster.url) as bus:
        first = await enqueue(bus, model)
        new.ask("CLUSTER", "SETSLOT", moving, "IMPORTING", old.ask("CLUSTER", "MYID"))
        old.ask("CLUSTER", "SETSLOT", moving, "MIGRATING", new.ask("CLUSTER", "MYID"))
        second = asyncio.create_task(enqueue(bus, model))
        await eventually(lambda: b"errorstat_ERR" in old.ask("INFO", "errorstats"))
        assert not second.done()
        names = await asyncio.to_thread(old.ask, "CLUSTER", "GETKEYSINSLOT", moving, 1000)
        await asyncio.to_thread(old.ask, "MIGRATE", "127.0.0.1", new.port, "", 0, 5000, "KEYS", *names)
        second_job = await second  # the new node is a guest's host still, and no primary by anybody's map
        for server in (new, old):
            server.ask("CLUSTER", "SETSLOT", moving, "NODE", new.ask("CLUSTER", "MYID"))
        assert [(await claim(bus, model, nonce=n)).job for n in "12"] == [first, second_job]
        assert new.ask("FCALL", "qc1_version", 0)


async def test_the_loss_of_the_node_that_we_listen_to_and_of_its_jobs_is_a_pause(cluster: Cluster) -> None:
    lost, model, elsewhere = cluster.primaries[0], cluster.model_on(cluster.primaries[0]), "model-elsewhere"
    async with opened(cluster.url) as front, opened(cluster.url) as back:
        while not await asyncio.to_thread(listens_at, lost):
            for server in cluster.all[1:]:
                server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        job = await enqueue(front, model)
        await front.listener.subscribe(keys.out(model, job.id), heard.put_nowait)
        running = await claim(back, model)
        assert await say(back, running, 0) is Verdict.OK
        lost.ask("WAIT", 1, 0)
        lost.kill()
        assert await say(back, running, 1) in (Verdict.OK, Verdict.DUP)
        assert await finish(back, running, 2) in (Verdict.OK, Verdict.ALREADY)
        log = [decode_event(entry.raw) for entry in await front.read_log(model, job.id)]
        assert [event.offset for event in log if isinstance(event, Chunk)] == [0, 1]
        assert isinstance(log[-1], End)
        for name in (model, elsewhere):
            assert [type(event) for event in await a_life(front, back, name)] == [Chunk, Chunk, End]


class Sentinels:
    """A master and its replica, both with roles, and three sentinels that watch them."""

    def __init__(self, folder: Path):
        self.master = self._redis(folder / "master")
        follow = ("--replicaof", f"127.0.0.1 {self.master.port}", "--repl-diskless-sync-delay", "0")
        self.replica = self._redis(folder / "replica", *follow)
        until(lambda: b"master_link_status:up" in self.admin(self.replica, "INFO"))
        self.sentinels = [self._sentinel(folder / f"sentinel{n}") for n in range(3)]
        until(lambda: all(self._agreed(sentinel) for sentinel in self.sentinels))
        self.all = [self.master, self.replica, *self.sentinels]

    @staticmethod
    def _redis(folder: Path, *options: str) -> Server:
        roles = ("--aclfile", str(role_file(folder)), "--masteruser", "replica", "--masterauth", "replica")
        return Server(folder, our_settings(folder), *roles, *options)

    def _sentinel(self, folder: Path) -> Server:
        folder.mkdir()
        conf = folder / "sentinel.conf"
        text = (OPS / "sentinel.conf").read_text().replace("redis.example 6379", f"127.0.0.1 {self.master.port}")
        text = text.replace("SENTINEL_PASSWORD", "sentinel").replace(
            "milliseconds queuechat 5000", "milliseconds queuechat 400"
        )
        conf.write_text(text.replace("\ndir /data\n", "\n").replace("port 26379\n", ""))
        return Server(folder, str(conf), "--sentinel", ready="+monitor master")

    @staticmethod
    def _agreed(sentinel: Server) -> bool:
        state = sentinel.ask("SENTINEL", "MASTER", "queuechat")
        known = dict(zip(state[::2], state[1::2], strict=True))
        return (known[b"num-slaves"], known[b"num-other-sentinels"]) == (b"1", b"2")

    @staticmethod
    def admin(server: Server, *command: object) -> bytes:
        return bytes(server.ask(*command, username="operator", password="operator"))

    def url(self, role: str) -> str:
        places = [free_port(), *(sentinel.port for sentinel in self.sentinels)]  # the first is not there
        return f"redis+sentinel://{role}:{role}@{','.join(f'127.0.0.1:{port}' for port in places)}/queuechat/0"

    def kill(self) -> None:
        for server in self.all:
            server.kill()


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    started = Sentinels(tmp_path)
    yield started
    started.kill()


async def test_after_a_failover_a_running_job_goes_on_and_what_the_replica_lacked_is_said_again(
    sentinels: Sentinels, model: str
) -> None:
    async with opened(sentinels.url("deploy")):
        pass
    async with opened(sentinels.url("api")) as front, opened(sentinels.url("worker")) as back:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        job = await enqueue(front, model)
        await front.listener.subscribe(keys.out(model, job.id), heard.put_nowait)
        running = await claim(back, model)
        assert await say(back, running, 0) is Verdict.OK
        await eventually(lambda: caught_up(sentinels))
        # An asynchronous replica may lack what the master has answered for: here, the second token.
        sentinels.replica.process.send_signal(signal.SIGSTOP)
        sentinels.master.ask("CLIENT", "KILL", "TYPE", "replica", username="sentinel", password="sentinel")
        assert await say(back, running, 1) is Verdict.OK
        assert [decode_event(await heard.get()).offset for _ in range(2)] == [0, 1]
        sentinels.master.kill()
        sentinels.replica.process.send_signal(signal.SIGCONT)
        assert await say(back, running, 2) is Verdict.GAP
        assert [await say(back, running, offset) for offset in (1, 2)] == [Verdict.OK] * 2
        assert await finish(back, running, 3) is Verdict.OK
        log = [decode_event(entry.raw) for entry in await front.read_log(model, job.id)]
        assert [event.offset for event in log] == [0, 1, 2, 3]
        assert [type(event) for event in await a_life(front, back, model)] == [Chunk, Chunk, End]


def caught_up(sentinels: Sentinels) -> bool:
    state = Sentinels.admin(sentinels.master, "INFO", "replication").decode()
    done = state.partition("master_repl_offset:")[2].split()[0]
    return f",offset={done}," in state


async def test_a_master_that_no_sentinel_knows_is_said_by_its_name() -> None:
    with pytest.raises(BusUnavailable, match="'nobody'"):
        async with opened(f"redis+sentinel://127.0.0.1:{free_port()}/nobody", patience_s=0):
            pass


async def test_the_wrong_kind_of_address_is_named(cluster: Cluster, redis_url: str) -> None:
    plain = cluster.primaries[1].url
    async with opened(plain) as bus:
        with pytest.raises(Misconfigured, match=r"write redis\+cluster://"):
            await take_depths(bus, [f"model-{n}" for n in range(9)])
    with pytest.raises(Misconfigured, match="is no cluster"):
        async with opened(redis_url.replace("redis://", "redis+cluster://")):
            pass
