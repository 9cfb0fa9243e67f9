"""The leaderboard command, as an operator types it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.leaderboard.battles import write_battles
from tests.cleaning.lines import log_file, state, vote
from tests.cli.command import Cli
from tests.leaderboard.synthetic import battles_of, spread, votes_between


@pytest.fixture
def battles(tmp_path: Path) -> str:
    path = tmp_path / "clean_battle.json"
    drawn = votes_between(spread(4, 500), 600, np.random.default_rng(8), 0.1)
    write_battles(path, battles_of(drawn, [f"voter-{k}" for k in range(20)]))
    return str(path)


@pytest.fixture(autouse=True)
async def nothing_published(bus: Bus) -> AsyncIterator[None]:
    yield
    await bus.connection.command("DEL", keys.LEADERBOARD)


async def test_clean_battles_become_files_and_a_table(cli: Cli, battles: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    code, shown, err = await cli(
        *("leaderboard", "build", "--battles", battles, "--output", out, "--rounds", "50", "--anchor", "m00=800")
    )
    assert code == 0, err
    rows = [line.split() for line in shown.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["1", "m03"], ["2", "m02"], ["3", "m01"], ["4", "m00"]]
    assert rows[3][2] == "800"
    made = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert (made["votes"], made["rounds"], made["anchor"]) == (600, 50, ["m00", 800.0])
    assert [table["category"] for table in made["tables"]] == ["all", "no-ties"]
    assert (tmp_path / "out" / "leaderboard.csv").read_text().startswith("category,style_control,rank,model,score")
    again = await cli.json("leaderboard", "show", "--file", f"{out}/leaderboard.json")
    assert again == made


async def test_what_is_published_is_shown(cli: Cli, battles: str, tmp_path: Path) -> None:
    code, _, err = await cli("leaderboard", "show")
    assert (code, "no leaderboard yet" in err) == (1, True)
    await cli("leaderboard", "build", "--battles", battles, "--output", str(tmp_path), "--publish")
    code, shown, _ = await cli("leaderboard", "show", "--category", "no-ties")
    assert code == 0
    assert shown.startswith("Without ties: ")
    code, _, err = await cli("leaderboard", "show", "--category", "klingon")
    assert (code, "no category 'klingon', but all, no-ties" in err) == (1, True)


async def test_recorded_votes_are_the_default(cli: Cli, tmp_path: Path) -> None:
    sides = {"left": state("ann", "Hi", "Hello"), "right": state("bob", "Hi", "Good day")}
    kinds = ("leftvote", "rightvote", "leftvote", "tievote")
    rows = [vote(kind, **sides, battle_id=str(k)) for k, kind in enumerate(kinds)]
    leak = vote(
        "leftvote", left=state("ann", "Hi", "I am ChatGPT"), right=state("bob", "Hi", "Hello"), battle_id="leak"
    )
    (tmp_path / "arena").mkdir()
    log_file(tmp_path / "arena", *rows, leak)
    code, shown, err = await cli("leaderboard", "build", "--output", str(tmp_path / "out"), "--style-control")
    assert code == 0, err
    assert "4 votes, style controlled" in shown
    assert "1 vote left out: an answer told who wrote it" in err
    assert "Only 4 votes yet" in err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--anchor", "m00"], "--anchor must be MODEL=SCORE"),
        (["--anchor", "m00=high"], "--anchor must be MODEL=SCORE"),
        (["--anchor", "nobody=1000"], "the anchor 'nobody' is in no battle"),
        (["--category", "klingon"], "there is no category 'klingon'"),
        (["--categories", "/none.toml"], "/none.toml: No such file"),
        (["--battles", "/none.json"], "/none.json: No such file"),
    ],
)
async def test_what_cannot_be_built_is_said_in_a_line(
    cli: Cli, battles: str, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    code, _, err = await cli("leaderboard", "build", "--battles", battles, "--output", str(tmp_path / "o"), *arguments)
    assert code == 1
    assert complaint in err
    assert not (tmp_path / "o").exists()


async def test_own_categories_come_from_a_file(cli: Cli, battles: str, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[finals]\ntitle = "Finals"\nmodels = ["m02", "m03"]\n')
    common = ("leaderboard", "build", "--battles", battles, "--output", str(tmp_path), "--rounds", "5")
    code, shown, _ = await cli(*common, "--categories", str(own), "--category", "finals")
    assert (code, shown.startswith("Finals: ")) == (0, True)
    await cli(*common, QUEUECHAT_LEADERBOARD_CATEGORIES=str(own))
    made = json.loads((tmp_path / "leaderboard.json").read_text())
    assert [table["category"] for table in made["tables"]] == ["all", "no-ties", "finals"]


async def test_no_votes_are_no_error(cli: Cli, tmp_path: Path) -> None:
    code, shown, err = await cli("leaderboard", "build", "--output", str(tmp_path / "out"))
    assert (code, shown.startswith("All votes: 0 votes")) == (0, True)
    assert "Too few votes" in err
