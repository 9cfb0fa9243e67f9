"""A Redis Cluster as one client: each command goes to the node that owns the slot of its key.

redis-py's cluster client asks the server for the keys of each FCALL before it sends it, drops all connections when one
fails, and repeats calls by itself. Ours knows where the key stands in the commands that we send, and leaves repeating
to `Connection.patiently`: what fails makes the map of slots doubtful, and the next call reads it anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from redis.asyncio.client import PubSub
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ClusterDownError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from queuechat.bus.faults import FOREIGN, lost_functions

Address = tuple[str, int]
_Moving: Any = TryAgainError  # untyped in redis-py
_Unowned: Any = ClusterDownError

_LOOK_S = 2.0
_HOPS = 5
_KEYLESS = {
    *("ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "FLUSHALL", "FLUSHDB", "FUNCTION", "INFO", "LATENCY"),
    *("PING", "PUBLISH", "PUBSUB", "SCAN", "SLOWLOG", "TIME", "WAIT", "WAITAOF"),
}
_KEY_AT = {"FCALL": 3, "FCALL_RO": 3, "EVAL": 3, "XGROUP": 2, "XINFO": 2, "OBJECT": 2, "MEMORY": 2}


def slot_of(command: Sequence[Any]) -> int | None:
    """The slot of a command's first key; None if any node can answer it."""
    name = str(command[0]).upper()
    at = _KEY_AT.get(name, 1)
    if name in _KEYLESS or (at == 3 and int(command[2]) == 0):
        return None
    key = command[at]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


class Cluster:
    """The primaries of a cluster. `client` makes the client of one node."""

    def __init__(self, seeds: Sequence[Address], client: Callable[[Address], Any]):
        self._seeds = list(seeds)
        self._make = client
        self._clients: dict[Address, Any] = {}
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._primaries: list[Address] = []
        self._nodes: set[Address] = set()  # the replicas too
        self._bare: set[Address] = set()  # who lacked our functions
        self._guides: list[Address] = (
            self._seeds
        )  # whom to ask for the map, and what has no key; who answered last first
        self._doubtful = True
        self._looking = asyncio.Lock()

    async def execute_command(self, *args: Any) -> Any:
        """One command, where its key is."""
        at, asking = await self._owner(slot_of(args)), False
        for _ in range(_HOPS):
            try:
                return await self._say(at, args, asking)
            except FOREIGN as error:
                hop = self._learn(error, at)
                if hop is None:
                    raise
            at, asking = hop
        raise _Moving("the slots of the cluster are moving")

    async def pipelined(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Each command where its key is, one round trip per node, all nodes at once; errors stand among the answers."""
        places: dict[Address, list[int]] = {}
        for number, command in enumerate(commands):
            places.setdefault(await self._owner(slot_of(command)), []).append(number)
        parts = await asyncio.gather(
            *(self._say_all(at, [commands[n] for n in numbers]) for at, numbers in places.items()),
            return_exceptions=True,
        )
        answers: list[Any] = [None] * len(commands)
        for (at, numbers), part in zip(places.items(), parts, strict=True):
            if isinstance(part, BaseException):
                raise part
            for number, answer in zip(numbers, part, strict=True):
                moved = isinstance(answer, Exception) and self._learn(answer, at)
                answers[number] = await self._once_more(commands[number]) if moved else answer
        return answers

    async def primaries(self) -> list[Address]:
        """All nodes that own slots."""
        if self._doubtful:
            await self._look()
        return self._primaries

    def bare(self) -> list[Address]:
        """Nodes that lacked our functions since the last call. One that is just being given its first slot is among no
        node's primaries yet, and neither is one that others have not heard of."""
        bare, self._bare = self._bare, set()
        return list(bare)

    async def ask(self, at: Address, *args: Any) -> Any:
        """One command, at that node."""
        try:
            return await self.client(at).execute_command(*args)
        except FOREIGN as error:
            self._learn(error, at)
            raise

    async def scan_iter(self, **how: Any) -> AsyncIterator[bytes]:
        """As redis-py's, over all primaries."""
        for address in await self.primaries():
            async for key in self.client(address).scan_iter(**how):
                yield key

    def another(self, address: Address | None) -> Address:
        """A node by chance, but not that one if there is a choice."""
        known = self._primaries or self._seeds
        return random.choice([node for node in known if node != address] or known)

    def knows(self, address: Address) -> bool:
        """Whether that node belonged to the cluster when we last looked."""
        return not self._nodes or address in self._nodes

    async def aclose(self, close_connection_pool: bool = True) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose(close_connection_pool=close_connection_pool)

    def client(self, address: Address) -> Any:
        """The client of one node."""
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = self._make(address)
        return client

    async def _say(self, at: Address, command: Sequence[Any], asking: bool) -> Any:
        if not asking:
            return await self.client(at).execute_command(*command)
        answer = (await self._say_all(at, [("ASKING",), command]))[1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _say_all(self, at: Address, commands: Sequence[Sequence[Any]]) -> list[Any]:
        pipe = self.client(at).pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        try:
            answers: list[Any] = await pipe.execute(raise_on_error=False)
        except FOREIGN as error:
            self._learn(error, at)
            raise
        return answers

    async def _once_more(self, command: Sequence[Any]) -> Any:
        try:
            return await self.execute_command(*command)
        except ResponseError as error:
            return error

    def _learn(self, error: Exception, at: Address) -> tuple[Address, bool] | None:
        """Where to ask instead, and whether as a guest (the slot is being moved there); None if nobody knows better."""
        if not isinstance(error, ResponseError):
            self._doubtful = True
            return None
        if lost_functions(error):
            self._bare.add(at)
        word, _, rest = str(error).partition(" ")
        self._doubtful = self._doubtful or word in ("MOVED", "CLUSTERDOWN", "MASTERDOWN")
        if word not in ("MOVED", "ASK"):
            return None
        slot, _, place = rest.partition(" ")
        host, _, port = place.rpartition(":")
        there = (host.strip("[]") or at[0], int(port))
        if word == "MOVED":
            self._owners[int(slot)] = there
        return there, word == "ASK"

    async def _owner(self, slot: int | None) -> Address:
        if self._doubtful:
            await self._look()
        owner = self._guides[0] if slot is None else self._owners[slot]
        if owner is None:
            self._doubtful = True
            raise _Unowned(f"no node of the cluster holds slot {slot}")
        return owner

    async def _look(self) -> None:
        """Read the map of slots from the first node that has one."""
        async with self._looking:
            error: Exception = RedisConnectionError("no node of the cluster knows its slots")
            for address in self._guides:
                if not self._doubtful:
                    return
                try:
                    async with asyncio.timeout(_LOOK_S):
                        rows = await self.client(address).execute_command("CLUSTER", "SLOTS")
                except (*FOREIGN, TimeoutError) as failure:
                    error = failure
                    continue
                if rows:
                    await self._take(rows, address)
            if self._doubtful:
                raise error

    async def _take(self, rows: list[Any], told_by: Address) -> None:
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        primaries: dict[Address, None] = {}
        nodes: set[Address] = set()
        for first, last, *servers in rows:
            addresses = [(_host(host) or told_by[0], int(port)) for host, port, *_ in servers]
            owners[first : last + 1] = [addresses[0]] * (last + 1 - first)
            primaries[addresses[0]] = None
            nodes.update(addresses)
        self._owners, self._primaries, self._nodes, self._doubtful = owners, list(primaries), nodes, False
        self._guides = list(dict.fromkeys([told_by, *primaries, *sorted(nodes), *self._seeds]))
        for address in [address for address in self._clients if address not in {*nodes, told_by}]:
            await self._clients.pop(address).aclose(close_connection_pool=True)


def _host(raw: bytes | None) -> str:
    return "" if raw in (None, b"?") else raw.decode()


def address_of(pubsub: PubSub) -> Address:
    """Which server it listens to."""
    place = pubsub.connection_pool.connection_kwargs
    return place["host"], int(place["port"])
