"""The limits of a provider, by a clock that the test turns."""

from __future__ import annotations

import sys

from workers.engines.remote_pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_without_limits_there_is_always_room() -> None:
    pace = Pace(None, None)
    for _ in range(100):
        pace.begin(10**9)
    assert pace.room() == sys.maxsize


def test_no_more_requests_begin_in_any_minute_than_allowed() -> None:
    clock = Clock()
    pace = Pace(3, None, clock)
    for at in (0.0, 10.0, 20.0):
        clock.now = 1000 + at
        assert pace.room() > 0
        pace.begin(0)
    assert pace.room() == 0
    clock.now = 1059.9
    assert pace.room() == 0
    clock.now = 1060.0
    assert pace.room() == 1
    clock.now = 1070.0
    assert pace.room() == 2


def test_tokens_are_counted_as_they_were_and_requests_come_one_at_a_time() -> None:
    clock = Clock()
    pace = Pace(None, 100, clock)
    assert pace.room() == 1
    spent = pace.begin(500)
    assert pace.room() == 0
    spent.tokens = 60  # what it did cost
    assert pace.room() == 1
    pace.begin(50)
    assert pace.room() == 0
    clock.now += 61
    assert pace.room() == 1


def test_nothing_begins_while_the_provider_told_to_wait() -> None:
    clock = Clock()
    pace = Pace(None, None, clock)
    pace.hold(5)
    pace.hold(1)
    assert pace.room() == 0
    clock.now += 5
    assert pace.room() > 0
