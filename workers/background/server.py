"""The background process: an arq worker that outlives its Redis."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator

import uvloop
from arq import cron
from arq.worker import Worker, func

from queuechat import keys
from queuechat.bus import Bus
from queuechat.bus.chores import Chores, reason
from queuechat.client import Client
from queuechat.files import Directory
from queuechat.roster import Roster
from queuechat.settings import Settings
from workers.background.chores import advance, look, sweep, tidy
from workers.background.desk import Desk, Rating
from workers.background.rating import rate
from workers.background.recording import write_logs

log = logging.getLogger(__name__)

_AT_A_TIME = 16  # batches
_MOST_S = 3600  # of a step that writes results to a slow volume; whose lease is lost stops by itself
_LOOK_S = 5
_RECORD_S = 2
_HEALTH_S = 2
_POLL_S = 0.2
_PAUSE_S = 1.0


def run(settings: Settings, redis_url: str) -> None:
    """Work until SIGTERM or SIGINT.

    Raises:
        Misconfigured: the address is a cluster's, or Redis refuses us.
        BusUnavailable: Redis does not answer.
    """
    logging.getLogger("arq").setLevel(logging.WARNING)  # it logs each look, and what its chores are told
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, redis_url))


async def serve(settings: Settings, redis_url: str) -> None:
    """As `run`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _opened(settings, redis_url) as desk:
        log.info("background work: batches, %d lines of each at a time", settings.batch_window)
        log.info("background work: votes and conversations, written to %s", settings.arena_dir)
        while not stop.is_set():
            await _work(desk, stop)


@contextlib.asynccontextmanager
async def _opened(settings: Settings, redis_url: str) -> AsyncIterator[Desk]:
    async with contextlib.AsyncExitStack() as stack:
        chores = Chores(redis_url)
        stack.push_async_callback(chores.close)
        chores.check()
        bus = Bus(redis_url)
        stack.push_async_callback(bus.close)
        await bus.open()
        client = await stack.enter_async_context(Client(bus, queue_limit=0, grace_s=0))
        roster = await stack.enter_async_context(Roster(bus))
        store, parts = Directory(settings.files_dir), settings.files_dir / "parts"
        more = (settings.batch_window, settings.reasoning_field, settings.body_room, settings.arena_dir)
        rating = Rating(settings.leaderboard_s, settings.leaderboard_rounds, settings.leaderboard_categories)
        yield Desk(bus, chores, client, roster, store, parts, *more, rating)


async def _work(desk: Desk, stop: asyncio.Event) -> None:
    """One life of an arq worker: until the signal to stop, or until Redis goes away.

    Raises:
        Exception: what ended it and is not Redis' absence.
    """
    worker = _worker(desk)
    main, stopping = asyncio.create_task(worker.main()), asyncio.create_task(stop.wait())
    await asyncio.wait({main, stopping}, return_when=asyncio.FIRST_COMPLETED)
    failure = main.exception() if main.done() and not main.cancelled() else None
    for task in (main, stopping, *worker.job_tasks.values()):
        task.cancel()
    await asyncio.gather(main, stopping, *worker.tasks.values(), return_exceptions=True)
    if failure:
        why = reason(failure)
        if why is None:
            raise failure
        log.warning("%s; going on when it is back", why.message)
        await asyncio.sleep(_PAUSE_S)


def _worker(desk: Desk) -> Worker:
    return desk.chores.worker(
        functions=[func(advance, name="advance", timeout=_MOST_S)],
        cron_jobs=[
            cron(look, name="look", second=_every(_LOOK_S), run_at_startup=True, keep_result=0),
            cron(write_logs, name="write_logs", second=_every(_RECORD_S), run_at_startup=True, keep_result=0),
            cron(rate, name="rate", second=_every(_LOOK_S), timeout=_MOST_S, keep_result=0),
            cron(sweep, name="sweep", second={30}, keep_result=0),
            cron(tidy, name="tidy", minute={30}, second={45}, keep_result=0),
        ],
        ctx={"desk": desk},
        max_jobs=_AT_A_TIME,
        poll_delay=_POLL_S,
        health_check_interval=_HEALTH_S,
        health_check_key=keys.background(socket.gethostname()),
    )


def _every(seconds: int) -> set[int]:
    return set(range(0, 60, seconds))
