"""Prometheus: counted as it happens, or asked of Redis when scraped. No user, key or request is ever a label."""

from __future__ import annotations

import asyncio

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from queuechat import __version__
from queuechat.bus import Bus
from queuechat.errors import BusUnavailable
from queuechat.protocol import Depth, End
from queuechat.roster import Census, take_depths

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The registry of one app."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, never asked for
        self.registry = CollectorRegistry()
        self._one_at_a_time = asyncio.Lock()
        self.requests = self._counter("http_requests", "HTTP requests answered", "route", "method", "code")
        self.refused = self._counter("refused", "requests answered with an error", "code")
        self.tokens = self._counter("tokens", "tokens read and written", "model", "kind")
        self.ended = self._counter("answers", "answers that came to an end", "model", "reason")
        self.ttft = self._histogram("ttft_seconds", "request to first token", "model")
        self.e2e = self._histogram("e2e_seconds", "request to end of answer", "model")
        self.queued = self._histogram("queue_seconds", "enqueued to taken by a worker", "model")
        self.open_streams = self._gauge("open_streams", "streams being sent")
        self.redis_up = self._gauge("redis_up", "whether Redis answered this scrape")
        self._gauge("build_info", "constant 1", "version").labels(__version__).set(1)
        self._waiting = self._gauge("queue_depth", "jobs waiting", "model", "lane")
        self._running = self._gauge("queue_running", "jobs taken by workers", "model")
        self._oldest = self._gauge("queue_oldest_seconds", "age of the oldest waiting job", "model")
        self._dead = self._gauge("dead_letters", "jobs put aside", "model")
        self._workers = self._gauge("workers", "live workers", "model", "state")

    def end(self, model: str, end: End) -> None:
        """Count one finished job."""
        self.ended.labels(model, end.reason.value).inc()
        self.tokens.labels(model, "prompt").inc(end.prompt_tokens)
        self.tokens.labels(model, "generated").inc(end.tokens)
        if end.times.started:
            self.queued.labels(model).observe(max(end.times.started - end.times.queued, 0) / 1000)

    async def scrape(self, bus: Bus, census: Census) -> bytes:
        """The text page, with Redis asked for depths; without Redis, what this process knows itself."""
        try:
            depths = await take_depths(bus, [model.card.name for model in census.live])
            self.redis_up.set(1)
        except BusUnavailable:
            depths = {}
            self.redis_up.set(0)
        async with self._one_at_a_time:
            for gauge in (self._waiting, self._running, self._oldest, self._dead, self._workers):
                gauge.clear()
            for model, depth in depths.items():
                self._show(model, depth)
            for worker in census.workers:
                self._workers.labels(worker.model, worker.state).inc()
            return await asyncio.to_thread(generate_latest, self.registry)

    def _show(self, model: str, depth: Depth) -> None:
        self._waiting.labels(model, "jobs").set(depth.waiting)
        self._waiting.labels(model, "bulk").set(depth.bulk_waiting)
        self._running.labels(model).set(depth.running)
        self._oldest.labels(model).set(depth.oldest_ms / 1000)
        self._dead.labels(model).set(depth.dead)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"queuechat_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"queuechat_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"queuechat_{name}", text, labels, registry=self.registry, buckets=_SECONDS)
