"""A real Redis for everything: one server per session on a free port, one model name per test."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from queuechat.bus import Bus
from queuechat.embedded import find_server
from tests.processes import Workers

# Three tests run at a time, and engines of two threads on two cores wait for each other most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# Begun first, so that none of them is left to one process at the end while the others have nothing to do. pytest-xdist
# keeps this order with --no-loadscope-reorder only: else files of few tests come last, and those often take long.
_LONG = (
    "engines/test_laws",
    "tests/service/",
    "whole/test_real_models",
    "tests/machine/",
    "tests/resume/",
    "tests/whole/",
    "tests/chaos/",
    "tests/failpoints/",
    "tests/workers/engines/",
    "tests/compat/",
    "tests/schemas/",
    "tests/background/",
    "tests/bench/",
    "tests/fuzz/",
    "tests/browser/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; all others as they come."""
    items.sort(key=lambda item: next((n for n, part in enumerate(_LONG) if part in item.nodeid), len(_LONG)))


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_redis(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A redis-server with our settings; returns once it answers."""
    command = [
        *(str(find_server()), "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "yes"),
        *("--appendfsync", "always", "--maxmemory-policy", "noeviction", "--logfile", str(folder / "redis.log")),
    ]
    process = subprocess.Popen(command)
    while process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if b"PONG" in connection.recv(64):
                    return process
        except OSError:
            time.sleep(0.01)
    raise RuntimeError((folder / "redis.log").read_text())


@contextlib.contextmanager
def a_redis(folder: Path) -> Iterator[str]:
    """The URL of a redis-server on a free port; it is killed at the end."""
    port = free_port()
    process = start_redis(folder, port)
    try:
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A redis-server for the whole run."""
    with a_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[Bus]:
    opened = await Bus(redis_url).open()
    yield opened
    await opened.close()


@pytest.fixture
def model() -> str:
    """A model name of this test alone."""
    return f"m-{secrets.token_hex(4)}"


@pytest.fixture
async def workers(redis_url: str, bus: Bus, tmp_path: Path) -> AsyncIterator[Workers]:
    """Worker processes, stopped at the end of the test."""
    started = Workers(redis_url, bus, tmp_path / "w")
    yield started
    await started.stop()
