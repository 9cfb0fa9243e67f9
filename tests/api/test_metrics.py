"""What Prometheus is told: by a real server, about answers that were really given."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from api.exchange import Exchange
from api.house import Ticket
from queuechat import errors, keys
from queuechat.battles import Event, LogLine, Side, record
from queuechat.bus import Bus
from queuechat.dialects.order import BYTES, Order
from queuechat.protocol import Chunk, Job, Reason, new_id
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.api.test_refusals import chat

OPS = Path(__file__).parents[2] / "ops"
VLLM = {  # those of vLLM's own documentation that something here corresponds to
    "vllm:num_requests_running": "gauge",
    "vllm:num_requests_waiting": "gauge",
    "vllm:time_to_first_token_seconds": "histogram",
    "vllm:inter_token_latency_seconds": "histogram",
    "vllm:time_per_output_token_seconds": "histogram",
    "vllm:e2e_request_latency_seconds": "histogram",
    "vllm:request_queue_time_seconds": "histogram",
    "vllm:prompt_tokens": "counter",
    "vllm:generation_tokens": "counter",
    "vllm:request_success": "counter",
}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(site: Site) -> tuple[Samples, dict[str, str]]:
    """Samples by name and labels, and the type of each family."""
    await site.house.roster.refresh()
    families = list(text_string_to_metric_families((await site.http.get("/metrics")).text))
    samples = {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
    assert len({family.name for family in families}) == len(families)
    return samples, {family.name: family.type for family in families}


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


async def ask(site: Site, hand: Hand, *texts: str, reason: Reason = Reason.STOP, **more: Any) -> None:
    headers = more.pop("headers", {})
    body = chat(model=hand.model, stream=True, **more)
    asked = asyncio.create_task(site.http.post("/v1/chat/completions", json=body, headers=headers))
    await hand.tell(*texts, reason=reason)
    assert (await asked).status_code == 200


async def test_queues_and_workers_are_told_as_redis_knows_them(site: Site, hand: Hand, bus: Bus) -> None:
    for lane in ("jobs", "jobs", "jobs", "bulk"):
        await bus.enqueue([Job(new_id(), hand.model, prompt="x", lane=lane)], limit=0, grace_s=0)
    await hand.one()
    samples, _ = await scraped(site)
    model = hand.model
    assert of(samples, "queuechat_queue_depth", model=model, lane="jobs") == 2
    assert of(samples, "queuechat_queue_depth", model=model, lane="bulk") == 1
    assert of(samples, "queuechat_queue_running", model=model) == 1
    assert of(samples, "queuechat_queue_oldest_seconds", model=model) >= 0
    assert of(samples, "queuechat_queue_eta_seconds", model=model) >= 0
    assert of(samples, "queuechat_workers", model=model, state="ready") == 1
    assert of(samples, "queuechat_worker_places", model=model) == 8  # of the hand's card


async def test_a_model_whose_workers_are_gone_is_still_told_with_what_waits(site: Site, bus: Bus, model: str) -> None:
    async with Hand(bus, model):
        await bus.enqueue([Job(new_id(), model, prompt="x")], limit=0, grace_s=0)
    samples, _ = await scraped(site)
    assert of(samples, "queuechat_queue_depth", model=model, lane="jobs") == 1
    assert of(samples, "queuechat_worker_places", model=model) == 0


async def test_lines_that_no_file_has_are_told_with_their_age(site: Site, bus: Bus) -> None:
    line = LogLine(Event.FLAG, [Side("a-model", [])], "somebody", 1.0)
    for _ in range(2):
        await record(bus, line)
    samples, _ = await scraped(site)
    assert of(samples, "queuechat_log_lines_waiting") == await bus.connection.command("XLEN", keys.LINES) >= 1
    assert of(samples, "queuechat_log_lines_oldest_seconds") > 0


async def test_each_gap_between_tokens_is_counted_once_and_a_replay_not_at_all(site: Site, hand: Hand) -> None:
    key = {"Idempotency-Key": new_id()}
    body = chat(model=hand.model, stream=True)
    asked = asyncio.create_task(site.http.post("/v1/chat/completions", json=body, headers=key))
    claim = await hand.one()
    for text in "abc":
        await hand.say(claim, text)
    await hand.end(claim)
    await asked
    before, _ = await scraped(site)
    again = await site.http.post("/v1/chat/completions", json=body, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    after, _ = await scraped(site)
    own = {"model": hand.model}
    for samples in (before, after):
        assert of(samples, "queuechat_inter_token_seconds_count", **own) == 2
        assert of(samples, "queuechat_ttft_seconds_count", **own) == 1
        assert of(samples, "queuechat_e2e_seconds_count", **own) == 1
        assert of(samples, "queuechat_tokens_total", kind="generated", **own) == 3
        assert of(samples, "queuechat_answers_total", reason="stop", **own) == 1


async def test_gaps_of_a_model_that_is_counted_in_bytes_are_between_tokens(
    site: Site, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([10.0, 16.0, 17.0])
    exchange = Exchange(
        site.house, Order([Job(new_id(), model, prompt="x")], model, unit=BYTES), Ticket(new_id(), "x", 0.0)
    )
    exchange._worded = True  # the first word has its own figure
    with monkeypatch.context() as patched:
        patched.setattr("api.exchange.time", SimpleNamespace(monotonic=lambda: next(clock)))
        exchange._hear(0, Chunk(0, 4, "once"))
        exchange._hear(0, Chunk(4, 9, " upon a t"))  # about three tokens in six seconds
        exchange._hear(0, Chunk(13, 1, "i"))  # no less than one
    samples, _ = await scraped(site)
    assert of(samples, "queuechat_inter_token_seconds_count", model=model) == 2
    assert of(samples, "queuechat_inter_token_seconds_sum", model=model) == 6 / 3 + 1


async def test_vectors_are_no_tokens(site: Site, bus: Bus, model: str) -> None:
    async with Hand(bus, model, embeds=True) as hand:
        asked = asyncio.create_task(site.post("/v1/embeddings", {"model": model, "input": ["a", "b"]}))
        claim = await hand.one()
        for _ in range(2):
            await hand.say(claim, "", vector="AACAPw==")
        await hand.end(claim)
        assert (await asked).status_code == 200
        samples, _ = await scraped(site)
    assert of(samples, "queuechat_tokens_total", model=model, kind="generated") == 0
    assert of(samples, "queuechat_tokens_total", model=model, kind="prompt") == 7
    assert ("queuechat_inter_token_seconds_count", frozenset({("model", model)})) not in samples


async def test_names_of_vllm_are_told_where_they_are_asked_for_and_nowhere_else(
    site: Site, redis_url: str, hand: Hand
) -> None:
    assert not [name for name in (await scraped(site))[1] if name.startswith("vllm:")]
    async with a_site(redis_url, drain_s=0, metrics_vllm_names=True) as other:
        await ask(other, hand, "a", "b", "c")
        await ask(other, hand, "a", reason=Reason.LENGTH)
        samples, types = await scraped(other)
    assert {name: kind for name, kind in types.items() if name.startswith("vllm:")} == VLLM
    name = {"model_name": hand.model}
    assert of(samples, "vllm:num_requests_running", **name) == 0
    assert of(samples, "vllm:num_requests_waiting", **name) == 0
    assert of(samples, "vllm:generation_tokens_total", **name) == 4
    assert of(samples, "vllm:prompt_tokens_total", **name) == 14
    assert of(samples, "vllm:time_to_first_token_seconds_count", **name) == 2
    assert of(samples, "vllm:e2e_request_latency_seconds_bucket", le="+Inf", **name) == 2
    assert of(samples, "vllm:request_success_total", finished_reason="stop", **name) == 1
    assert of(samples, "vllm:request_success_total", finished_reason="length", **name) == 1
    for theirs, ours in (("inter_token_latency", "inter_token"), ("e2e_request_latency", "e2e")):
        total = of(samples, f"queuechat_{ours}_seconds_sum", model=hand.model)
        assert of(samples, f"vllm:{theirs}_seconds_sum", **name) == total


async def test_what_was_cancelled_is_an_abort_to_vllms_dashboards(redis_url: str, hand: Hand) -> None:
    async with a_site(redis_url, drain_s=0, metrics_vllm_names=True) as site:
        site.house.metrics.ended.labels(hand.model, Reason.CANCELLED.value).inc()
        samples, _ = await scraped(site)
    assert of(samples, "vllm:request_success_total", finished_reason="abort", model_name=hand.model) == 1


def expressions() -> Iterator[str]:
    """Every query of the dashboard and the alerts that come with queuechat."""
    board = json.loads((OPS / "grafana" / "queuechat.json").read_text())
    yield from (target["expr"] for panel in board["panels"] for target in panel["targets"])
    yield from (one["query"] for one in board["templating"]["list"])
    rules = yaml.safe_load((OPS / "prometheus" / "alerts.yml").read_text())
    yield from (rule["expr"] for group in rules["groups"] for rule in group["rules"])


async def test_every_name_in_the_dashboard_and_the_alerts_is_told(site: Site, hand: Hand) -> None:
    await ask(site, hand, "a", "b")
    await site.post("/v1/chat/completions", chat(model="no-such-model"))
    samples, _ = await scraped(site)
    used = {name for text in expressions() for name in re.findall(r"queuechat_\w+", text)}
    assert used - {name for name, _ in samples} == set()
    assert len(used) > 15


def test_every_code_in_the_alerts_is_one_of_ours() -> None:
    codes = {
        code for text in expressions() for found in re.findall(r'code=~"([^"]+)"', text) for code in found.split("|")
    }
    ours = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    assert codes
    assert codes <= ours


def test_the_configuration_of_prometheus_names_files_that_are_there() -> None:
    config = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())
    assert all((OPS / "prometheus" / name).is_file() for name in config["rule_files"])


async def test_a_scaler_finds_the_depth_in_the_model_itself(site: Site, hand: Hand, bus: Bus) -> None:
    await bus.enqueue([Job(new_id(), hand.model, prompt="x")], limit=0, grace_s=0)
    told = (await site.http.get(f"/v1/models/{hand.model}")).json()
    assert told["queue"] == {"waiting": 1, "running": 0}
