"""The command as a user types it: in a process of its own, with nothing of this one's environment."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Env = dict[str, str]


class Cli:
    """`await cli("ps")` is what `queuechat ps` does on a Redis: exit code, standard output, standard error."""

    def __init__(self, url: str | None, folder: Path):
        self.url, self.folder = url, folder

    async def __call__(self, *arguments: str, stdin: bytes = b"", **more: str) -> tuple[int, str, str]:
        return await run(*arguments, url=self.url, folder=self.folder, stdin=stdin, more=more)

    async def json(self, *arguments: str) -> Any:
        """What it prints with --json, whatever its exit code."""
        _, out, err = await self(*arguments, "--json")
        assert out, err
        return json.loads(out)


class Door:
    """One process that has done the imports and lends itself to one command after the other."""

    _process: asyncio.subprocess.Process | None = None
    _one_at_a_time = asyncio.Lock()

    @classmethod
    async def run(cls, arguments: Iterable[str], env: Env, folder: str) -> int:
        ask = {"arguments": list(arguments), "env": env, "folder": folder}
        async with cls._one_at_a_time:
            process = cls._process = cls._process or await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.cli.door"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(ask).encode() + b"\n")
            return int(await process.stdout.readline())

    @classmethod
    async def close(cls) -> None:
        process, cls._process = cls._process, None
        if process and process.stdin:
            process.stdin.close()
            await process.wait()


async def run(
    *arguments: str, url: str | None, folder: Path, stdin: bytes = b"", more: Env | None = None
) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    env = {"PATH": os.defpath, "QUEUECHAT_STATE_DIR": str(folder), "COLUMNS": "200", "HOME": str(folder)}
    env |= ({"QUEUECHAT_REDIS_URL": url} if url else {}) | (more or {})
    with tempfile.TemporaryDirectory() as papers:
        told = [Path(papers) / name for name in ("stdin", "stdout", "stderr")]
        told[0].write_bytes(stdin)
        code = await Door.run(arguments, env, papers)
        return code, told[1].read_text(), told[2].read_text()
