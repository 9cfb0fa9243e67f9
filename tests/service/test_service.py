"""A short run of each case; `python -m tests.service` has the figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.arena import arena
from tests.service.cancels import cancels
from tests.service.fair import AHEAD, fair
from tests.service.overload import overload
from tests.service.rolling import rolling

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through /proc")

SEED = 3


async def test_every_stream_that_a_reader_leaves_is_cancelled(tmp_path: Path) -> None:
    figures, faults = await cancels(tmp_path, SEED, 60)
    assert (figures["cancelled"], faults) == (60, [])


async def test_nobody_notices_that_every_worker_and_server_is_restarted(tmp_path: Path) -> None:
    figures, faults = await rolling(tmp_path, SEED, 1, workers=2)
    assert (figures["restarted"], faults) == ({"workers": 2, "API servers": 2}, [])


async def test_who_cannot_be_served_is_told_when_to_come_back(tmp_path: Path) -> None:
    figures, faults = await overload(tmp_path, SEED, 4)
    assert figures["outcomes"]["answered"] > 0
    assert sum(n for kind, n in figures["outcomes"].items() if kind.startswith("refused")) > 0
    assert faults == []


async def test_a_key_that_asks_for_much_keeps_no_other_waiting(tmp_path: Path) -> None:
    figures, faults = await fair(tmp_path, SEED, 6)
    assert figures["outcomes"]["noisy refused with 429"] > 0
    assert figures["taken_before_p95"] <= AHEAD
    assert [fault for fault in faults if not fault.startswith("the quiet key waited")] == []


async def test_battles_go_on_and_votes_count_while_workers_are_killed(tmp_path: Path) -> None:
    figures, faults = await arena(tmp_path, SEED, 6, people=6, models=2, rate=500, pause_s=1)
    assert (figures["battles"], faults) == (6, [])
    assert figures["answers_cut_by_kills"] > 0
