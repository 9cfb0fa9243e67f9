"""A seeded slice of `python -m tests.background`."""

from __future__ import annotations

from pathlib import Path

from tests.background.kills import kills


async def test_a_batch_survives_the_death_of_each_of_its_processes(tmp_path: Path) -> None:
    figures, faults = await kills(tmp_path, 5, 200, 1)
    assert (figures["killed"], faults) == ({"background": 1, "api": 1, "worker": 1}, [])
