"""What is counted here under the names that vLLM gives it, so that its dashboards and scalers find it.

https://docs.vllm.ai/en/latest/usage/metrics.html; copies made at each scrape, nothing is counted twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class _Name:
    """`ours` is told as `theirs`: of the samples those that have the labels `where`."""

    ours: str
    theirs: str
    where: dict[str, str] = field(default_factory=dict)


_NAMES = (
    _Name("queue_running", "num_requests_running"),
    _Name("queue_depth", "num_requests_waiting", {"lane": "jobs"}),
    _Name("ttft_seconds", "time_to_first_token_seconds"),
    _Name("inter_token_seconds", "inter_token_latency_seconds"),
    _Name("inter_token_seconds", "time_per_output_token_seconds"),  # before vLLM 0.11
    _Name("e2e_seconds", "e2e_request_latency_seconds"),
    _Name("queue_seconds", "request_queue_time_seconds"),
    _Name("tokens", "prompt_tokens", {"kind": "prompt"}),
    _Name("tokens", "generation_tokens", {"kind": "generated"}),
    _Name("answers", "request_success"),
)
_LABELS = {"model": "model_name", "reason": "finished_reason"}
_REASONS = {"cancelled": "abort", "deadline": "abort"}  # the others have the same name there


class VllmNames(Collector):
    """Tells the metrics of another registry, which has all that `_NAMES` says."""

    def __init__(self, own: CollectorRegistry):
        self._own = own

    def collect(self) -> Iterator[Metric]:
        own = {family.name: family for family in self._own.collect()}
        for name in _NAMES:
            yield _renamed(own[f"queuechat_{name.ours}"], f"vllm:{name.theirs}", name.where)


def _renamed(family: Metric, name: str, where: dict[str, str]) -> Metric:
    copy = Metric(name, family.documentation, family.type)
    sums: dict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)  # two reasons may have one name
    for sample in family.samples:
        if where.items() <= sample.labels.items():
            labels = {_LABELS.get(key, key): value for key, value in sample.labels.items() if key not in where}
            if "finished_reason" in labels:
                labels["finished_reason"] = _REASONS.get(labels["finished_reason"], labels["finished_reason"])
            sums[name + sample.name.removeprefix(family.name), tuple(labels.items())] += sample.value
    for (told, pairs), value in sums.items():
        copy.add_sample(told, dict(pairs), value)
    return copy
