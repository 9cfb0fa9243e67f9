"""Short storms for every test run; `python -m tests.chaos` has the long ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.cases import Scene, Stage, played
from tests.chaos.storm import CHILD, NODE, Weather

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through /proc")

SEED = 20  # of questions and faults; another one is another storm


Part = tuple[Weather, int, tuple[float, float]]  # what strikes, how often, with which pauses


async def the_faults_of(scene: Scene, folder: Path, *parts: Part) -> list[str]:
    """What the judge has against a run in which all parts have struck."""

    async def play(stage: Stage) -> None:
        for weather, count, pace in parts:
            await stage.while_asking(weather, count, pace)
        assert stage.storm.counts.total() == sum(count for _, count, _ in parts)

    report, faults = await played("slice", scene, SEED, folder, play)
    assert report.answered > scene.streams
    return faults


async def test_killed_engines_and_a_lost_node_cost_no_token_and_repeat_none(tmp_path: Path) -> None:
    scene = Scene(streams=16, tokens=(20, 60), rate=40, workers=3)
    assert await the_faults_of(scene, tmp_path, ({CHILD: 1}, 10, (0, 0.2)), ({NODE: 1}, 1, (0, 0))) == []


async def test_a_killed_redis_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    scene = Scene(streams=12, tokens=(20, 60), rate=40, workers=2, apis=1)
    assert await the_faults_of(scene, tmp_path, ({"redis killed": 1}, 2, (0.5, 1))) == []


async def test_lost_replies_cut_connections_and_dead_servers_do_nothing_twice(tmp_path: Path) -> None:
    scene = Scene(streams=12, tokens=(20, 60), rate=40, workers=2, apis=2, proxied=True)
    weather = {"replies lost": 2, "connections cut": 1, "api killed": 1}
    assert await the_faults_of(scene, tmp_path, (weather, 8, (0.1, 0.5))) == []
