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

from api.vllm_names import VllmNames
from queuechat import __version__
from queuechat.backlog import Backlog, look_at_backlog
from queuechat.bus import Bus
from queuechat.errors import BusUnavailable
from queuechat.protocol import Depth, End
from queuechat.roster import Census, Model, take_depths

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_GAPS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 10)


class Metrics:
    """The registry of one app. What it counts are the requests that this app answers; the gauges are of the whole of a
    model, so that every app tells the same.

    With `vllm_names` what vLLM has as well is there under its names, too.
    """

    def __init__(self, *, vllm_names: bool = False) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, never asked for
        self.registry = CollectorRegistry()
        self._one_at_a_time = asyncio.Lock()
        self.requests = self._counter("http_requests", "HTTP requests answered", "route", "method", "code")
        self.refused = self._counter("refused", "requests answered with an error", "code")
        self.tokens = self._counter("tokens", "tokens read and written", "model", "kind")
        self.ended = self._counter("answers", "answers that came to an end", "model", "reason")
        self.ttft = self._histogram("ttft_seconds", "request to first token", "model")
        self.e2e = self._histogram("e2e_seconds", "request to end of answer", "model")
        self.gaps = self._histogram("inter_token_seconds", "between tokens, as they come here", "model", buckets=_GAPS)
        self.queued = self._histogram("queue_seconds", "enqueued to taken by a worker", "model")
        self.open_streams = self._gauge("open_streams", "streams being sent")
        self.redis_up = self._gauge("redis_up", "whether Redis answered this scrape")
        self._gauge("build_info", "constant 1", "version").labels(__version__).set(1)
        self._waiting = self._gauge("queue_depth", "jobs waiting", "model", "lane")
        self._running = self._gauge("queue_running", "jobs taken by workers", "model")
        self._oldest = self._gauge("queue_oldest_seconds", "age of the oldest waiting job", "model")
        self._eta = self._gauge("queue_eta_seconds", "wait of a request that comes now, as admission reckons", "model")
        self._dead = self._gauge("dead_letters", "jobs put aside", "model")
        self._workers = self._gauge("workers", "live workers", "model", "state")
        self._places = self._gauge("worker_places", "sequences that the workers can run", "model")
        self._taken = self._gauge("worker_running", "sequences that the workers run", "model")
        self._speed = self._gauge("worker_tokens_per_second", "tokens that the workers write", "model")
        self._unwritten = self._gauge("log_lines_waiting", "votes and conversations that are in no file yet")
        self._unwritten_s = self._gauge("log_lines_oldest_seconds", "how long the oldest of these has waited")
        self._restarts = self._gauge("worker_restarts", "engines that the live workers had to replace", "model")
        depths = [self._waiting, self._running, self._oldest, self._eta, self._dead]
        self._seen = [*depths, self._workers, self._places, self._taken, self._speed, self._restarts]  # at each scrape
        self._twins = CollectorRegistry()
        if vllm_names:
            self._twins.register(VllmNames(self.registry))

    def end(self, model: str, end: End, generated: int) -> None:
        """Count one finished job, which has written so many tokens."""
        self.ended.labels(model, end.reason.value).inc()
        self.tokens.labels(model, "prompt").inc(end.prompt_tokens)
        self.tokens.labels(model, "generated").inc(generated)
        if end.times.started:
            self.queued.labels(model).observe(max(end.times.started - end.times.queued, 0) / 1000)

    async def scrape(self, bus: Bus, census: Census) -> bytes:
        """The text page, with Redis asked for depths; without Redis, what this process knows itself."""
        try:
            depths, backlog = await take_depths(bus, census.models), await look_at_backlog(bus)
            self.redis_up.set(1)
        except BusUnavailable:
            depths, backlog = {}, Backlog(0, 0.0)
            self.redis_up.set(0)
        async with self._one_at_a_time:
            for gauge in self._seen:
                gauge.clear()
            self._unwritten.set(backlog.lines)
            self._unwritten_s.set(backlog.oldest_s if backlog.lines else 0)
            for name, depth in depths.items():
                self._show(name, depth)
            for model in census.models.values():
                self._show_workers(model)
            return await asyncio.to_thread(self._page)

    def _page(self) -> bytes:
        return generate_latest(self.registry) + generate_latest(self._twins)

    def _show(self, model: str, depth: Depth) -> None:
        self._waiting.labels(model, "jobs").set(depth.waiting)
        self._waiting.labels(model, "bulk").set(depth.bulk_waiting)
        self._running.labels(model).set(depth.running)
        self._oldest.labels(model).set(depth.oldest_ms / 1000)
        self._eta.labels(model).set((depth.waiting + 1) * depth.pace_s if depth.waiting else 0)
        self._dead.labels(model).set(depth.dead)

    def _show_workers(self, model: Model) -> None:
        name, workers = model.card.name, model.workers
        for worker in workers:
            self._workers.labels(name, worker.state).inc()
        self._places.labels(name).set(sum(worker.capacity for worker in workers))
        self._taken.labels(name).set(sum(worker.running for worker in workers))
        self._speed.labels(name).set(sum(worker.tokens_per_s for worker in workers))
        self._restarts.labels(name).set(sum(worker.restarts for worker in workers))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"queuechat_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"queuechat_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
        return Histogram(f"queuechat_{name}", text, labels, registry=self.registry, buckets=buckets)
