"""One run: Redis, an echo worker, a watched API server, and processes that send cases to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx

from tests.fuzz.generator import Sent, generate, properties_of
from tests.fuzz.mutants import Mutants
from tests.fuzz.sender import send_all
from tests.fuzz.tally import Document, Tally
from tests.service.site import MODEL, site

_EXAMPLES_OF = 1000  # cases for each example that Schemathesis makes for an operation
_COVERED = 5000  # cases from which on its coverage phase, about 1500 of them, is worth its time
_CONTEXT = 512  # tokens: the echo worker has no other end


async def fuzz(folder: Path, seed: int, cases: int, processes: int) -> tuple[dict[str, Any], list[str]]:
    """At least so many cases: Schemathesis' first, then mutants of them. Answers the figures and what was wrong."""
    began, resident = time.monotonic(), 0.0
    async with site(folder / "site") as here:
        options = ("--echo-rate", "0", "--max-running", "64", "--max-context", str(_CONTEXT))
        await here.workers.start("echo", MODEL, *options)
        async with _watched(here.url, folder / "host") as (url, pid):
            resident = _resident_mb(pid)
            tally, generated_s = await _in_processes(url, seed, cases, processes)
            async with httpx.AsyncClient(base_url=url) as http:
                alive = (await http.get("/livez")).status_code == 200
            resident_after = _resident_mb(pid)
    watch = json.loads((folder / "host" / "watch.json").read_text())
    figures = {
        **tally.report(),
        "seconds": round(time.monotonic() - began, 1),
        "seconds_of_schemathesis": round(generated_s, 1),
        "api_memory_mb_before_after": [resident, resident_after],
        "event_loop": watch,
    }
    faults = [f"{kind} ({number} times): {tally.faults[kind]}" for kind, number in tally.wrong.most_common()]
    return figures, faults + ([] if alive else ["the server does not answer /livez any more"])


async def _in_processes(url: str, seed: int, cases: int, processes: int) -> tuple[Tally, float]:
    loop, tally, began = asyncio.get_running_loop(), Tally(), time.monotonic()
    examples = max(cases // _EXAMPLES_OF // processes, 1)
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        parts = await asyncio.gather(
            *(
                loop.run_in_executor(pool, _generate, url, seed + k, examples, k == 0 and cases >= _COVERED)
                for k in range(processes)
            )
        )
        generated_s, sent = time.monotonic() - began, []
        for part, its in parts:
            tally.add(part)
            sent += its
        left = -(-max(cases - tally.cases, 0) // processes)
        async with httpx.AsyncClient(base_url=url) as http:
            document = (await http.get("/openapi.json")).json()
        for part in await asyncio.gather(
            *(loop.run_in_executor(pool, _mutate, url, sent, seed + k, left, document) for k in range(processes))
        ):
            tally.add(part)
    return tally, generated_s


def _generate(url: str, seed: int, examples: int, coverage: bool) -> tuple[Tally, list[Sent]]:
    return generate(url, MODEL, seed, examples, coverage=coverage)


def _mutate(url: str, sent: list[Sent], seed: int, cases: int, document: dict[str, Any]) -> Tally:
    fields = {each.operation: properties_of(document, each.operation) for each in sent}
    return asyncio.run(
        send_all(int(url.rpartition(":")[2]), Mutants(sent, seed, MODEL, fields), cases, Document(document))
    )


@contextlib.asynccontextmanager
async def _watched(redis_url: str, folder: Path) -> AsyncIterator[tuple[str, int]]:
    """A server of `tests.fuzz.host`: its address and its process."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.fuzz.host", redis_url, str(folder))
    try:
        while not (folder / "port").exists():
            assert process.returncode is None, "the server has not started"
            await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{(folder / 'port').read_text()}", process.pid
    finally:
        process.terminate()
        await process.wait()


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
