"""The life of a job by hand, on the bus: put, take, say, end. Token n is the id n, so hashes follow from offsets."""

from __future__ import annotations

from queuechat import keys
from queuechat.bus import Accepted, Bus, Claim, Claims, Item, Repeated, Verdict
from queuechat.protocol import Chunk, End, Job, PrefixHash, Reason, decode_event, new_id

ROOM = 8


def a_job(model: str, **fields: object) -> Job:
    return Job(id=new_id(), model=model, prompt="a secret prompt", **fields)  # type: ignore[arg-type]


async def put(
    bus: Bus, *jobs: Job, limit: int = 100, grace_s: float = 0, idem: tuple[str, str] | None = None
) -> Accepted | Repeated:
    return await bus.enqueue(jobs, limit=limit, grace_s=grace_s, idem=idem)


async def waiting(bus: Bus, model: str, count: int) -> list[Job]:
    """So many jobs, queued."""
    jobs = [a_job(model) for _ in range(count)]
    for job in jobs:
        await put(bus, job)
    return jobs


async def take(bus: Bus, model: str, worker: str = "w", *, room: int = ROOM, fresh: int = 0) -> Claims:
    return await bus.claim(model, worker, f"{worker}/{new_id()}", room=room, bulk_room=room, fresh=fresh)


async def say(bus: Bus, claim: Claim, upto: int, *, since: int | None = None) -> Verdict:
    """The tokens from where the claim began (or `since`) to `upto`, as one chunk."""
    first = claim.offset if since is None else since
    ids = list(range(first, upto))
    before, after = (PrefixHash().update(range(n)) if n else "" for n in (first, upto))
    chunk = Chunk(first, len(ids), "".join(f" {id}" for id in ids), ids).encode()
    return (
        await bus.publish(claim.job.model, [Item(claim.job.id, claim.nonce, first, len(ids), before, after, chunk)])
    )[0]


async def end(bus: Bus, claim: Claim, at: int, reason: Reason = Reason.STOP) -> Verdict:
    return (await bus.finish(claim.job.model, [(claim.job.id, claim.nonce, End(reason, at, prompt_tokens=3))]))[0]


async def die(bus: Bus, model: str, worker: str = "w", *, by_itself: bool = True) -> None:
    """The worker is gone: of itself, or killed from outside."""
    await bus.release(model, worker, crashed=True, by_itself=by_itself)


async def crashed(bus: Bus, model: str, times: int) -> None:
    """What waits is taken and its worker dies without having said a word, so many times."""
    for _ in range(times):
        await take(bus, model, "victim")
        await die(bus, model, "victim")


async def buried(bus: Bus, model: str, *, tokens: int = 0) -> Job:
    """A job that became a dead letter after so many tokens."""
    job = a_job(model)
    await put(bus, job)
    if tokens:
        (claim,) = await take(bus, model, "first")
        await say(bus, claim, tokens)
        await bus.release(model, "first", crashed=False)
    await crashed(bus, model, keys.SUSPECT + 1)
    assert (await state(bus, job)) == "dead"
    return job


async def state(bus: Bus, job: Job) -> str:
    return (await bus.watch(job.model, [job.id]))[0].state


async def events(bus: Bus, job: Job) -> list[Chunk | End]:
    return [decode_event(entry.raw) for entry in await bus.read_log(job.model, job.id)]


async def text(bus: Bus, job: Job) -> str:
    """All that was answered."""
    return "".join(event.text for event in await events(bus, job))
