"""The life of one job as its hash tells it: queued, taken, handed over, first token, end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from queuechat import keys
from queuechat.bus import Bus


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a job: `at` in seconds since the epoch, `offset` the tokens delivered by then.

    `what` is queued, taken, first token, one of handed (a drain), killed (its worker was), crashed (its worker died of
    itself), lapsed (nothing was heard of its worker) and redriven, or the reason of the end.
    """

    at: float
    what: str
    worker: str = ""
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Timeline:
    """A job without its prompt. `worker` had it last, `owned` says whether it has it now; `queued` is when it was
    queued last, which a dead letter is anew when it is redriven. `choices` is how many jobs its request has, `letter`
    the entry of its dead letter."""

    id: str
    model: str
    state: str
    tenant: str
    worker: str
    tokens: int
    epoch: int
    crashes: int
    deadline: float
    moments: list[Moment]
    owned: bool = False
    queued: float = 0.0
    choices: int = 1
    letter: str = ""

    @property
    def over(self) -> bool:
        return self.state not in ("waiting", "running")


def standing(job: Timeline) -> str:
    """Its state as people say it: what lost its worker is running in Redis' books, and waits for another."""
    return "waits again" if job.state == "running" and not job.owned else job.state


_FIELDS = (
    *("state", "tenant", "worker", "next", "epoch", "crashes", "deadline"),
    *("queued", "first", "ended", "trail", "own", "choices", "letter"),
)


async def find_job(bus: Bus, models: Iterable[str], id: str) -> Timeline | None:
    """The job of that id, whichever of the models it is for; None when there is none, or not any more."""
    found = await _read(bus, [(model, id) for model in models])
    return found[0] if found else None


async def list_jobs(bus: Bus, models: Iterable[str], count: int = 1000) -> list[Timeline]:
    """What runs and waits, at most `count` of each lane of each model, in the order in which it came."""
    lanes = [(model, stream) for model in models for stream in (keys.jobs(model), keys.bulk(model), keys.reads(model))]
    if not lanes:
        return []
    answers = await bus.connection.insist([("XRANGE", stream, "-", "+", "COUNT", count) for _, stream in lanes])
    entries = [(model, _id(fields)) for (model, _), rows in zip(lanes, answers, strict=True) for _, fields in rows]
    return [job for job in await _read(bus, entries) if not job.over]


async def _read(bus: Bus, wanted: list[tuple[str, str]]) -> list[Timeline]:
    """Those of these jobs (model, id) that there are."""
    if not wanted:
        return []
    rows = await bus.connection.insist([("HMGET", keys.job(model, id), *_FIELDS) for model, id in wanted])
    return [_timeline(id, model, row) for (model, id), row in zip(wanted, rows, strict=True) if row[0]]


def _timeline(id: str, model: str, row: list[bytes | None]) -> Timeline:
    v = dict(zip(_FIELDS, (value.decode() if value else "" for value in row), strict=True))
    return Timeline(
        id=id,
        model=model,
        state=v["state"],
        tenant=v["tenant"],
        worker=v["worker"],
        tokens=int(v["next"]),
        epoch=int(v["epoch"]),
        crashes=int(v["crashes"]),
        deadline=int(v["deadline"]) / 1000,
        moments=_moments(v),
        owned=bool(v["own"]),
        queued=int(v["queued"]) / 1000,
        choices=int(v["choices"] or 1),
        letter=v["letter"],
    )


def _moments(v: dict[str, str]) -> list[Moment]:
    """All that happened, in the order in which it did: many things may happen in one millisecond."""
    moments = _handovers(v["trail"])
    if v["first"] != "0":
        # What was handed over with tokens came after the first of them, what was handed over without before it.
        at = next((k for k, moment in enumerate(moments) if moment.offset), len(moments))
        worker = next((moment.worker for moment in reversed(moments[:at]) if moment.what == "taken"), "")
        moments.insert(at, Moment(int(v["first"]) / 1000, "first token", worker, 1))
    if all(moment.what != "redriven" for moment in moments):  # of one that was, only the last queueing is known
        moments.insert(0, Moment(int(v["queued"]) / 1000, "queued"))
    if v["ended"] != "0":
        moments.append(Moment(int(v["ended"]) / 1000, v["state"], v["worker"], int(v["next"])))
    return moments


def _handovers(trail: str) -> list[Moment]:
    moments = []
    for line in trail.split(";"):
        parts = line.split(" ")
        if len(parts) == 4 and parts[0].isdecimal():  # the oldest lines of a very long trail are cut off
            worker = "" if parts[2] == "-" else parts[2]
            moments.append(Moment(int(parts[0]) / 1000, parts[1], worker, int(parts[3])))
    return moments


def _id(fields: list[bytes] | dict[bytes, bytes]) -> str:
    return (fields[b"id"] if isinstance(fields, dict) else fields[1]).decode()
