"""arq on our connection: what is to be done in the background, in JSON (a pickle from a shared Redis runs code)."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.worker import Worker
from redis.exceptions import WatchError

from queuechat import keys
from queuechat.bus import faults, topology
from queuechat.bus.cluster import Cluster
from queuechat.errors import Misconfigured, QueuechatError

log = logging.getLogger(__name__)


def dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=repr)


class Chores:
    """arq's queue behind a URL of one server or of sentinels; a cluster can have none."""

    def __init__(self, url: str):
        self._client: Any = topology.connect(topology.parse(url), socket_timeout=10)
        pool = None if isinstance(self._client, Cluster) else self._client.connection_pool
        self._arq: Any = pool and ArqRedis(
            pool, job_serializer=dumps, job_deserializer=orjson.loads, default_queue_name=keys.BACKGROUND
        )

    def check(self) -> None:
        """Raises Misconfigured for a cluster."""
        if self._arq is None:
            raise Misconfigured(
                "batches need one Redis server or Sentinel: arq, which runs them, cannot queue in a cluster"
            )

    async def add(self, name: str, *args: Any, id: str) -> None:
        """Queue a chore, unless one of that id waits or runs.

        Raises:
            BusUnavailable, Misconfigured, QueuechatError: by `faults.translate`.
        """
        self.check()
        try:
            await self._arq.enqueue_job(name, *args, _job_id=id)
        except faults.FOREIGN as error:
            raise faults.translate(error, "the queue of chores") from error

    async def begun(self, id: str) -> bool:
        """Whether some process runs a chore of that id, or did when it died.

        Raises:
            BusUnavailable, Misconfigured, QueuechatError: by `faults.translate`.
        """
        self.check()
        try:
            return bool(await self._arq.exists(in_progress_key_prefix + id))
        except faults.FOREIGN as error:
            raise faults.translate(error, "the queue of chores") from error

    def worker(self, **options: Any) -> Worker:
        """An arq worker on this queue that leaves signals to its caller. Raises Misconfigured for a cluster."""
        self.check()
        return Worker(
            queue_name=keys.BACKGROUND,
            redis_pool=self._arq,
            job_serializer=dumps,
            job_deserializer=orjson.loads,
            handle_signals=False,
            keep_result=0,
            **options,
        )

    async def close(self) -> None:
        await topology.close(self._client)


def reason(error: BaseException) -> QueuechatError | None:
    """Why arq's loop ended, when Redis is to blame and may be back in a moment."""
    # A connection that is lost between WATCH and EXEC is told as a WatchError.
    if isinstance(error, WatchError) or (isinstance(error, faults.FOREIGN) and faults.is_transient(error)):
        return faults.translate(error, "the queue of chores")
    return None
