"""Figures against what was computed by hand."""

from __future__ import annotations

import pytest

from queuechat.bench.comparing import Comparison, compare
from queuechat.bench.metrics import Figures, Spread, figures, parse_goals, throughput
from queuechat.bench.report import document, remarks
from queuechat.errors import InvalidRequest
from tests.bench.readings import a_failure, a_reading, a_run


def test_every_measure_is_what_its_definition_says() -> None:
    # Sent at 1.0, chunks at 1.2, 1.3 and 1.5, of 5 tokens together, the last frame at 1.6.
    found = figures(a_run([a_reading(1.0, [1.2, 1.3, 1.5], ended=1.6, tokens=5)], 2.0))
    assert found.spreads["ttft"].mean == pytest.approx(200)
    assert found.spreads["e2el"].mean == pytest.approx(600)
    assert found.spreads["tpot"].mean == pytest.approx((600 - 200) / 4)
    assert found.spreads["itl"].mean == pytest.approx(150)
    assert found.spreads["itl"].std == pytest.approx(50)
    assert found.request_throughput == pytest.approx(0.5)
    assert found.output_throughput == pytest.approx(2.5)
    assert found.total_token_throughput == pytest.approx(7.5)
    assert (found.chunks, found.total_input_tokens, found.total_output_tokens) == (3, 10, 5)


def test_percentiles_are_interpolated_as_numpy_does() -> None:
    spread = Spread.of([value / 1000 for value in range(1, 102)])  # 1 to 101 ms
    assert (spread.p50, spread.p95, spread.p99) == pytest.approx((51, 96, 100))
    spread = Spread.of([0.001, 0.002])
    assert (spread.median, spread.p99) == pytest.approx((1.5, 1.99))
    assert Spread.of([0.004]).p99 == 4
    assert Spread.of([]) == Spread(0, 0, 0, 0, 0, 0)


def test_an_answer_of_one_token_has_no_time_per_further_token() -> None:
    found = figures(a_run([a_reading(0, [0.5], tokens=1), a_reading(0, [0.1, 0.4], tokens=4)], 1.0))
    assert found.spreads["tpot"].mean == pytest.approx(100)


def test_goodput_counts_what_keeps_every_objective() -> None:
    quick = a_reading(0, [0.1, 0.2], tokens=2)
    late_start = a_reading(0, [0.3, 0.35], tokens=2)
    slow = a_reading(0, [0.1, 0.9], tokens=2)
    run = a_run([quick, late_start, slow], 4.0)
    assert figures(run, {"ttft": 200}).request_goodput == pytest.approx(2 / 4)
    assert figures(run, {"ttft": 200, "tpot": 150}).request_goodput == pytest.approx(1 / 4)
    assert figures(run, {"e2el": 400}).request_goodput == pytest.approx(2 / 4)
    assert figures(run).request_goodput is None


def test_failures_are_counted_by_kind_and_are_in_no_latency() -> None:
    found = figures(a_run([a_reading(0, [0.1, 0.2], tokens=2), a_failure(0, "HTTP 429"), a_failure(0, "HTTP 429")], 1))
    assert (found.completed, found.failed, found.errors) == (1, 2, {"HTTP 429": 2})
    assert found.spreads["ttft"].p99 == pytest.approx(100)
    assert "2 failed: HTTP 429" in list(remarks(found))


def test_chunks_stand_in_for_tokens_that_were_not_counted_and_this_is_told() -> None:
    found = figures(a_run([a_reading(0, [0.1, 0.2, 0.3])], 1))
    assert (found.total_output_tokens, found.uncounted) == (3, 1)
    assert any("chunks were counted" in line for line in remarks(found))


def test_nothing_at_all_gives_figures_too() -> None:
    found = figures(a_run([a_failure(0, "no answer")], 1))
    assert (found.completed, found.output_throughput, found.max_output_tokens_per_s) == (0, 0, 0)


def test_concurrency_and_tokens_by_the_second_are_counted_where_they_were() -> None:
    run = a_run([a_reading(0, [0.5, 1.5], tokens=4), a_reading(1.0, [1.6, 1.7], tokens=2), a_reading(1.8, [1.9])], 2)
    assert throughput(run) == [(0.0, 2.0), (1.0, 5.0)]
    found = figures(run)
    assert (found.max_concurrent_requests, found.max_output_tokens_per_s) == (2, 5.0)


def test_a_busy_or_late_generator_is_told() -> None:
    late = a_reading(0, [0.3, 0.4], tokens=2)
    late.due, late.sent = 0.0, 0.2
    run = a_run([late], 0.1)
    lines = " ".join(remarks(figures(run)))
    assert "100% of a core" in lines
    assert "sent late (p99 200 ms" in lines


#: What programs that read results of `vllm bench serve` look for.
VLLM = {
    *("duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "request_throughput"),
    *("request_goodput", "output_throughput", "total_token_throughput", "max_output_tokens_per_s"),
    "max_concurrent_requests",
    *(f"{name}_{m}_ms" for m in ("ttft", "tpot", "itl", "e2el") for name in ("mean", "median", "std", "p95", "p99")),
}
DETAILED = {"input_lens", "output_lens", "start_times", "ttfts", "itls"}


def test_the_document_has_the_fields_of_vllm() -> None:
    run = a_run([a_reading(0, [0.1, 0.2], tokens=2), a_failure(0, "HTTP 500")], 1)
    found = document(figures(run), {"model_id": "m"}, run)
    assert {"model_id", *VLLM, *DETAILED} <= set(found)
    assert all(len(found[name]) == 2 for name in DETAILED)
    assert found["output_lens"] == [2, 0]
    assert not DETAILED & set(document(figures(run), {}))


def test_objectives_are_read_from_one_string_or_several() -> None:
    assert parse_goals(["ttft:200 tpot:50", "e2el:3000"]) == {"ttft": 200, "tpot": 50, "e2el": 3000}
    assert parse_goals([]) == {}


@pytest.mark.parametrize("word", ["ttft", "ttft:", "ttft:0", "ttft:-1", "ttft:nan", "itl:5", "latency:9"])
def test_what_is_no_objective_is_refused(word: str) -> None:
    with pytest.raises(InvalidRequest, match="ttft:MS"):
        parse_goals([word])


async def test_servers_are_driven_in_alternating_order_and_compared_by_medians() -> None:
    order: list[str] = []
    speeds = {"a": iter([10, 50, 20]), "b": iter([40, 10, 40])}

    async def drive(name: str, number: int) -> Figures:
        order.append(f"{name}{number}")
        return figures(a_run([a_reading(0, [0.5, 1.0], tokens=next(speeds[name]))], 1.0))

    comparison: Comparison = await compare(["a", "b"], 3, drive)
    assert order == ["a0", "b0", "b1", "a1", "a2", "b2"]
    assert comparison.medians()["a"]["output_throughput"] == 20
    assert comparison.medians()["b"]["output_throughput"] == 40
    assert comparison.ratios()["b"]["output_throughput"] == 2
    assert len(comparison.document()["rounds"]["b"]) == 3
