"""A second queuechat as a provider: Redis, API and a worker with a small model, each a process of its own."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import orjson

from tests.conftest import free_port, start_redis

MODEL = "far"


@functools.cache
def far_url() -> str:
    """Where its API listens, once its model is served; started once, and gone with this process."""
    folder = Path(tempfile.mkdtemp(prefix="queuechat-far-"))
    redis_port, port = free_port(), free_port()
    started = [start_redis(folder, redis_port)]
    atexit.register(_stop, started, folder)
    env = {
        **os.environ,
        "QUEUECHAT_REDIS_URL": f"redis://127.0.0.1:{redis_port}",
        "QUEUECHAT_STATE_DIR": str(folder),
        "QUEUECHAT_API_PORT": str(port),
    }
    for command in (
        ["api"],
        ["worker", "--model", "smollm2", "--name", MODEL, "--device", "cpu", "--max-running", "8", "--threads", "1"],
    ):
        with (folder / f"{command[0]}.log").open("wb") as log:
            command = [sys.executable, "-m", "queuechat", *command]
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
    url = f"http://127.0.0.1:{port}/v1"
    while not _serves(url):
        time.sleep(0.1)
    return url


def _stop(started: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """The last first, Redis at the end; nobody is waited for."""
    for process in reversed(started):
        for _ in range(2):  # the second one says: now
            process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def _serves(url: str) -> bool:
    body = orjson.dumps({"model": MODEL, "prompt": "Hi", "max_tokens": 1})
    request = urllib.request.Request(f"{url}/completions", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
