"""Delay against echo's schedule, and what counts as a gap."""

from __future__ import annotations

import pytest

from queuechat.bench.driving import Run
from queuechat.bench.soak import Heard, delays, endurance, slip


def heard(arrivals: list[tuple[float, str]], tokens: int | None = None) -> Heard:
    reading = Heard(0.0)
    reading.begin(200)
    for at, text in arrivals:
        reading.chunk(text, at)
    reading.ended, reading.finish_reason = arrivals[-1][0], "length"
    reading.completion_tokens = reading.tokens if tokens is None else tokens
    reading.end()
    return reading


def on_time(count: int, rate: float = 10.0) -> list[tuple[float, str]]:
    return [(1 + place / rate, f" w{place}") for place in range(count)]


def test_chunks_on_schedule_have_no_delay() -> None:
    assert delays(heard(on_time(50)), 10) == pytest.approx([0] * 50, abs=1e-9)


def test_a_late_chunk_is_late_by_what_it_came_after_its_turn() -> None:
    arrivals = on_time(50)
    arrivals[7] = (arrivals[7][0] + 0.08, arrivals[7][1])
    found = delays(heard(arrivals), 10)
    assert found[7] == pytest.approx(0.08)
    assert sum(found) == pytest.approx(0.08)


def test_a_late_first_chunk_makes_no_other_early() -> None:
    arrivals = on_time(50)
    arrivals[0] = (1.09, " w0")
    found = delays(heard(arrivals), 10)
    assert found[0] == pytest.approx(0.09)
    assert max(found[1:]) == pytest.approx(0)


def test_tokens_that_came_joined_are_late_by_the_oldest_of_them() -> None:
    arrivals = [(1.0, " a"), (1.1, " b"), (1.4, " c d e"), (1.5, " f")]
    assert delays(heard(arrivals), 10) == pytest.approx([0, 0, 0.2, 0])


def test_a_worker_that_stood_still_is_late_for_a_while_and_then_its_schedule_has_slipped() -> None:
    arrivals = [(at + (0.5 if at > 15 else 0), text) for at, text in on_time(600)]
    reading = heard(arrivals)
    late = [delay for delay in delays(reading, 10) if delay > 0.4]
    assert 100 <= len(late) <= 200
    assert delays(reading, 10)[-1] == pytest.approx(0)
    assert slip(reading, 10) == pytest.approx(0.5)


def test_what_comes_before_a_moment_counts_in_no_delay() -> None:
    assert len(delays(heard(on_time(50)), 10, since=3.95)) == 20


def test_a_stream_that_says_something_else_or_less_has_a_gap() -> None:
    good, other, short = on_time(5), on_time(5), on_time(4)
    other[2] = (other[2][0], " x")
    readings = [heard(good), heard(good), heard(other), heard(short)]
    broken = Heard(0.0)
    broken.failure = "HTTP 500"
    found = endurance(Run([*readings, broken], 0, 2, 0.1, {"api": 1.0}), 4, 10, 5, 0, {})
    assert (found.gaps, found.failed, found.clean) == (2, 1, False)
    assert found.cores == {"api": 0.5, "generator": 0.05}
    assert endurance(Run(readings[:2], 0, 2, 0.1, {}), 2, 10, 5, 0, {}).clean
