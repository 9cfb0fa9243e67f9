"""What the guarantees cost: the same path with the disk, then also the log and the fence, taken out."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from queuechat.bus.lua import library
from tests.processes import Command
from tests.service.caller import call
from tests.service.site import MODEL, Site, site

STREAMS, TOKENS = 32, 512
RATE = 60  # tokens/s of a stream in the part that counts processor time: each token is then a message of its own

# Tokens are only said, not kept; nobody's right to say them is looked at.
_BARE = """
local function append(p, a, i, t)
  redis.call('PUBLISH', p .. 'out:' .. a[i], a[i + 6])
  redis.call('HSET', p .. 'job:' .. a[i], 'next', a[i + 2] + a[i + 3])
  return 'OK'
end
"""

# A server that never compares what it heard with what Redis has, since Redis has nothing.
_CARELESS = """
import sys
from queuechat.client import Client
async def nothing(self): pass
Client._watch = nothing
sys.argv = ["queuechat", *sys.argv[1:]]
from queuechat.cli import main
main()
"""


@dataclass
class _Path:
    """One way through API, Redis and worker. At full speed `tok_s` and `tokens_a_frame`, else `us_token`."""

    here: Site
    port: int = 0
    tok_s: list[float] = field(default_factory=list)
    us_token: list[float] = field(default_factory=list)
    tokens_a_frame: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        rows = {"tok_s": self.tok_s, "tokens_a_frame": self.tokens_a_frame, "us_token": self.us_token}
        return {name: round(statistics.median(row), 1) for name, row in rows.items()}


async def price(folder: Path, seed: int, rounds: int) -> tuple[dict[str, Any], list[str]]:
    """32 streams x 512 tokens through API, Redis and worker, at full speed (tok/s) and at 60 tok/s a stream (processor
    time of all three, a token): as it is; without the disk; without disk, log and fence. In turn, medians."""
    async with site(folder / "a") as kept, site(folder / "b") as forgetful, site(folder / "c") as bare:
        for here in (forgetful, bare):
            await here.bus.connection.command("CONFIG", "SET", "appendonly", "no")
        await bare.bus.connection.command("FUNCTION", "LOAD", "REPLACE", _bare_library())
        paths = {"all guarantees": _Path(kept), "no disk": _Path(forgetful), "no disk, log and fence": _Path(bare)}
        for measure in (_speed, _effort):
            for path in paths.values():
                await _open(path, rate=0 if measure is _speed else RATE)
            for number in range(rounds + 1):
                for path in paths.values():
                    await measure(path, keep=number > 0)  # the first is for warming up
    full, *others = paths.items()
    medians = {name: path.medians() for name, path in paths.items()}
    ratios = {
        f"{full[0]} / {name}": {k: round(medians[full[0]][k] / medians[name][k], 3) for k in ("tok_s", "us_token")}
        for name, _ in others
    }
    return {**medians, **ratios, "rounds": rounds}, []


async def _open(path: _Path, *, rate: float) -> None:
    here = path.here
    await here.workers.stop()
    await here.worker(rate, STREAMS)
    if path.port:
        return
    path.port = await here.api()
    if await _is_bare(here):
        await here.apis[path.port].stop()
        here.apis[path.port] = await _careless(here, path.port)


async def _is_bare(here: Site) -> bool:
    revision = (await here.bus.connection.command("FCALL", "qc1_version", 0)).decode().partition(":")[0]
    return int(revision) != library()[1]


async def _careless(here: Site, port: int) -> Command:
    log = here.folder / "careless.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _CARELESS, "api", "--port", str(port)),
            env={**os.environ, "QUEUECHAT_REDIS_URL": here.url, "QUEUECHAT_STATE_DIR": str(here.folder)},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    while b"listening" not in log.read_bytes():
        await asyncio.sleep(0.05)
    return Command(process, log)


def _bare_library() -> str:
    text, revision, _ = library()
    begin, end = text.index("local function append("), text.index("-- ARGV, seven of each job")
    text = text[:begin] + _BARE + text[end:]
    log = "  redis.call('XADD', p .. 'log:' .. id, v[3] .. '-' .. ends, 'e', event)\n"
    assert log in text
    return text.replace(log, "").replace(f"return '{revision}:", f"return '{revision + 1000}:")


async def _ask(path: _Path) -> float:
    """Tokens a frame, in the mean: a worker that waits for Redis sends fewer and larger ones."""
    body = {"model": MODEL, "prompt": "go", "max_tokens": TOKENS, "stream": True}
    answers = await asyncio.gather(*(call(path.port, body) for _ in range(STREAMS)))
    assert all(answer.whole for answer in answers)
    return STREAMS * TOKENS / sum(answer.body.count(b"data: {") for answer in answers)


async def _speed(path: _Path, *, keep: bool) -> None:
    began = time.monotonic()
    tokens_a_frame = await _ask(path)
    if keep:
        path.tok_s.append(STREAMS * TOKENS / (time.monotonic() - began))
        path.tokens_a_frame.append(tokens_a_frame)


async def _effort(path: _Path, *, keep: bool) -> None:
    (worker,) = await path.here.workers.of(MODEL)
    pids = [path.here.apis[path.port].process.pid, worker.pid, path.here.redis.pid]
    before = sum(map(_cpu_s, pids))
    await _ask(path)
    if keep:
        path.us_token.append((sum(map(_cpu_s, pids)) - before) * 1e6 / (STREAMS * TOKENS))


def _cpu_s(pid: int) -> float:
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
