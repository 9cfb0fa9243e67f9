"""`queuechat logs`: rows and figures of log files."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.cleaning.lines import chat, log_file, state, vote
from tests.cli.command import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Without any Redis: nothing here needs one."""
    return Cli(None, tmp_path)


@pytest.fixture
def arena(tmp_path: Path) -> Path:
    folder = tmp_path / "arena"
    folder.mkdir()
    log_file(folder, vote(battle_id="b1"), vote(battle_id="b1"), vote(right=state("bee", "Hm?", "I am Bee.")))
    log_file(folder, vote("tievote"), chat(), "{torn", day="2025-11-23")
    return folder


async def test_votes_are_cleaned_to_an_array_that_only_its_owner_reads(cli: Cli, arena: Path, tmp_path: Path) -> None:
    target = tmp_path / "battles.json"
    code, out, err = await cli("logs", "clean-battles", "-o", str(target))
    assert (code, out) == (0, "")
    assert [row["winner"] for row in json.loads(target.read_text())] == ["model_a", "tie"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert f"2 of 4 votes (dropped: 1 duplicate, 1 leaked_identity): {target}" in err
    assert f"{arena}/2025-11-23-conv.json, line 3" in err


async def test_rows_can_go_to_standard_output(cli: Cli, arena: Path) -> None:
    code, out, err = await cli("logs", "clean-battles", "--mode", "conv_release", "-o", "-")
    rows = json.loads(out)
    assert (code, len(rows), rows[0]["conversation_a"][1]["content"]) == (0, 2, "Mont Blanc.")
    assert "2 of 4 votes" in err


async def test_what_was_dropped_is_told_as_json(cli: Cli, arena: Path, tmp_path: Path) -> None:
    told = await cli.json("logs", "clean-battles", "-o", str(tmp_path / "battles.json"), "--exclude-model", "bee")
    assert told["dropped"] == {"exclude_model": 3, "leaked_identity": 1}
    assert (told["votes"], told["kept"], told["unreadable"], len(told["faults"])) == (4, 0, 1, 1)
    assert json.loads((tmp_path / "battles.json").read_text()) == []


async def test_banned_voters_are_read_from_a_file(cli: Cli, arena: Path, tmp_path: Path) -> None:
    bans = tmp_path / "bans.json"
    bans.write_text('["203.0.113.7"]')
    told = await cli.json("logs", "clean-battles", "-o", str(tmp_path / "b.json"), "--ban-file", str(bans))
    assert told["dropped"] == {"banned": 3, "leaked_identity": 1}
    for wrong, said in (("{}", "no JSON list"), ("nobody", "is not JSON"), ("[1]", "no JSON list")):
        bans.write_text(wrong)
        code, _, err = await cli("logs", "clean-battles", "-o", str(tmp_path / "b.json"), "--ban-file", str(bans))
        assert (code, said in err) == (1, True)


async def test_conversations_are_cleaned_from_files_that_are_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    file, target = log_file(tmp_path / "theirs", chat("upvote"), chat()), tmp_path / "chats.json"
    code, _, err = await cli("logs", "clean-chats", str(file), "--action-type", "upvote", "-o", str(target))
    assert (code, "1 conversations of 1 lines" in err) == (0, True)
    assert [row["model"] for row in json.loads(target.read_text())] == ["ape"]


async def test_figures_are_shown_and_told_as_json(cli: Cli, arena: Path) -> None:
    found: dict[str, Any] = await cli.json("logs", "stats")
    assert (found["lines"], found["unreadable"], found["anonymous_votes"]) == (5, 1, 4)
    code, out, err = await cli("logs", "stats", str(arena))
    assert (code, "5 lines of 1 people; 4 anonymous votes" in out, "2025-11-22" in out) == (0, True, True)
    assert "1 lines are no log lines" in err


async def test_nothing_to_read_and_nowhere_to_write_are_said(cli: Cli, arena: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    code, _, err = await cli("logs", "stats", str(tmp_path / "none"))
    assert (code, "queuechat background" in err) == (1, True)
    code, _, err = await cli("logs", "clean-battles", "-o", str(tmp_path / "no" / "folder.json"))
    assert (code, "No such file or directory" in err) == (1, True)
    code, _, err = await cli("logs", "stats", str(tmp_path / "nobody-conv.json"))
    assert (code, "does not exist" in err) == (2, True)


async def test_an_output_that_was_not_finished_is_not_there(cli: Cli, arena: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "battles.json"
    target.parent.mkdir()
    target.mkdir()  # it cannot be replaced
    code, _, err = await cli("logs", "clean-battles", "-o", str(target))
    assert (code, "queuechat: " in err) == (1, True)
    assert [path.name for path in target.parent.iterdir()] == ["battles.json"]
