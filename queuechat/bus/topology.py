"""Where Redis is: one server, a master that sentinels know, or a cluster, as a URL says it.

    redis://[user:password@]host[:port][/db]                    one server; rediss:// is the same through TLS
    unix://[user:password@]/path/to/redis.sock[?db=0]           one server on this machine
    redis+cluster://[user:password@]host[:port],...             some nodes of a cluster; rediss+cluster://
    redis+sentinel://[user:password@]host[:port],.../service    some sentinels of a master; rediss+sentinel://
        [/db][?sentinel_username=...&sentinel_password=...]     these two only if the sentinels want a password

TLS takes ?ssl_ca_certs=, ssl_certfile= and ssl_keyfile= (paths), and ssl_check_hostname=false.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import redis.asyncio as aioredis
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from queuechat.bus.cluster import Address, Cluster
from queuechat.errors import Misconfigured
from queuechat.masking import without_secrets

_SENTINEL_S = 1.5
_ANONYMOUS = {"lib_name": None, "lib_version": None}  # 7.0 knows no CLIENT SETINFO, and no role of ours may use it
_DEFAULT_PORT = {"cluster": 6379, "sentinel": 26379}
_URL = re.compile(r"(?P<wire>redis|rediss|unix)(?:\+(?P<kind>cluster|sentinel))?://(?P<net>[^/?#]*)(?P<rest>.*)", re.S)
_NODE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Place:
    """A URL taken apart. `kind` is "", "cluster" or "sentinel"; `options` are redis-py's for one connection."""

    kind: str
    nodes: list[Address]
    service: str
    options: dict[str, Any]


def parse(url: str) -> Place:
    """The parts of a URL.

    Raises:
        Misconfigured: it is none that we know, or names a file that is not there.
    """
    try:
        place = _parse(url)
        _check(place)
    except (ValueError, TypeError):
        # What the parsers say may quote the password.
        raise Misconfigured(
            f"{without_secrets(url)!r} is not an address of Redis: redis://host:port/0, rediss://host:port/0, "
            "unix:///file, redis+cluster://host:port,host:port or redis+sentinel://host:port,host:port/service; "
            "in its password, write what is neither letter nor digit as %XX"
        ) from None
    return place


def connect(place: Place, *, socket_timeout: float) -> aioredis.Redis | Cluster:
    """A client of that place; it connects with its first call."""
    if place.kind == "cluster":
        return Cluster(place.nodes, partial(_node, place.options, socket_timeout))
    if place.kind == "sentinel":
        return _master(place, socket_timeout)
    return _server(place.options, socket_timeout)


async def close(client: aioredis.Redis | Cluster) -> None:
    """Close its connections, those to sentinels too."""
    await client.aclose(close_connection_pool=True)
    if isinstance(client, aioredis.Redis) and isinstance(client.connection_pool, SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _parse(url: str) -> Place:
    found = _URL.fullmatch(url)
    if not found:
        raise ValueError
    wire, kind, net, rest = found["wire"], found["kind"] or "", found["net"], found["rest"]
    # An @ further on means that a password with an unquoted /, ? or # was cut in two: its head would be taken for a
    # host or a port, and shown.
    if "@" in rest and not (wire == "unix" and not net):
        raise ValueError
    if not kind:
        return Place("", [], "", dict(parse_url(url)))
    if wire == "unix":
        raise ValueError
    user, at, hosts = net.rpartition("@")
    if "@" in user or "," in user:  # the credentials stand once, before all nodes
        raise ValueError
    path, _, query = rest.partition("?")
    options = dict(parse_url(f"{wire}://{user}{at}-?{query}"))
    del options["host"]
    service, options["db"] = _service(kind, [part for part in path.split("/") if part])
    return Place(kind, [_address(host, _DEFAULT_PORT[kind]) for host in hosts.split(",")], service, options)


def _service(kind: str, path: list[str]) -> tuple[str, int]:
    service = path.pop(0) if kind == "sentinel" and path else ""
    db = int(path.pop(0)) if path else 0
    if path or bool(service) != (kind == "sentinel") or (kind == "cluster" and db):
        raise ValueError
    return service, db


def _address(text: str, port: int) -> Address:
    found = _NODE.fullmatch(text)
    if not found:
        raise ValueError
    return found[1].strip("[]"), int(found[2] or port)


def _check(place: Place) -> None:
    """What would otherwise come out with the first command: unknown options, files that are not there."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        file = place.options.get(name)
        if file is not None and not os.access(file, os.R_OK):
            raise Misconfigured(f"the address of Redis names {file!r} as {name}, but there is no such file to read")
    options = {name: value for name, value in place.options.items() if not name.startswith("sentinel_")}
    pool: Any = _server(options, 1).connection_pool
    pool.make_connection()


def _settings(options: dict[str, Any], socket_timeout: float) -> dict[str, Any]:
    kind = options.get("connection_class", aioredis.Connection)
    settings: dict[str, Any] = {
        # redis-py's own retries are off: it would repeat calls without telling us that it did.
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "socket_timeout": socket_timeout,
        **_ANONYMOUS,
    }
    if kind is not aioredis.UnixDomainSocketConnection:
        settings |= {"socket_connect_timeout": 3, "socket_keepalive": True}
    if kind is SSLConnection:  # a certificate of the right authority is not enough: it must be this host's
        settings["ssl_check_hostname"] = options.get("ssl_cert_reqs") != "none"
    return {**settings, **options, "connection_class": _quick(kind)}


def _server(options: dict[str, Any], socket_timeout: float) -> aioredis.Redis:
    pool = aioredis.ConnectionPool(**_settings(options, socket_timeout))
    return aioredis.Redis(connection_pool=pool)


def _node(options: dict[str, Any], socket_timeout: float, address: Address) -> aioredis.Redis:
    return _server({**options, "host": address[0], "port": address[1]}, socket_timeout)


def _master(place: Place, socket_timeout: float) -> aioredis.Redis:
    options = dict(place.options)
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    tls = options.get("connection_class") is SSLConnection
    settings = _settings(options, socket_timeout)
    settings["connection_class"] = _quick(SentinelManagedSSLConnection if tls else SentinelManagedConnection)
    to_sentinels = {name: value for name, value in settings.items() if name.startswith("ssl_")}
    timeouts = {"socket_timeout": _SENTINEL_S, "socket_connect_timeout": _SENTINEL_S}
    make_sentinels: Any = Sentinel
    make_pool: Any = SentinelConnectionPool
    sentinels = make_sentinels(
        place.nodes, sentinel_kwargs={**own, **timeouts, **_ANONYMOUS, **to_sentinels, "ssl": tls}
    )
    return aioredis.Redis(connection_pool=make_pool(place.service, sentinels, **settings))


def _quick(kind: Any) -> Any:
    """The same connection with a cheaper look for left-over bytes before each command.

    redis-py looks by reading with a timeout of 0, which costs a turn of the event loop. What has arrived lies in the
    stream's buffer by then, so looking there finds the same.
    """

    class Quick(kind):  # type: ignore[misc]
        async def can_read_destructive(self) -> bool:
            stream = self._reader
            if stream is None or stream.at_eof():
                raise RedisConnectionError("Connection closed by server.")
            return bool(stream._buffer)

    return Quick
