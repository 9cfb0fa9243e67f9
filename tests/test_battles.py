"""Votes on battles: bound to one, counted once, logged as FastChat logs them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from queuechat import keys
from queuechat.backlog import look_at_backlog, read_lines
from queuechat.battles import (
    Battle,
    BattleNotFound,
    Choice,
    Event,
    LogLine,
    Side,
    cast,
    new_battle_id,
    open_battle,
    record,
)
from queuechat.bus import Bus
from queuechat.errors import Conflict, MemoryLow
from tests.conftest import a_redis

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "A model."},
]
STATE = ["template_name", "system_message", "roles", "messages", "offset", "conv_id", "model_name"]


def a_battle(*, anonymous: bool = True, voter: str = "somebody") -> Battle:
    sides = (Side("left-model", TALK), Side("right-model", TALK))
    return Battle(new_battle_id(), sides, anonymous, voter, time.time())


async def opened(bus: Bus, **given: Any) -> Battle:
    battle = a_battle(**given)
    await open_battle(bus, battle)
    return battle


async def rows_of(bus: Bus, battle: str) -> list[dict[str, Any]]:
    """What waits to be written of a battle."""
    rows = [orjson.loads(entry.line) for entry in await read_lines(bus, 1000)]
    return [row for row in rows if row.get("battle_id") == battle]


async def test_a_vote_counts_once_however_often_it_is_cast(bus: Bus) -> None:
    battle = await opened(bus)
    assert [await cast(bus, battle, Choice.LEFT, 1.0) for _ in range(3)] == [Choice.LEFT] * 3
    assert [row["type"] for row in await rows_of(bus, battle.id)] == ["leftvote"]


async def test_a_battle_that_has_its_vote_takes_no_other(bus: Bus) -> None:
    battle = await opened(bus)
    assert await cast(bus, battle, Choice.TIE, 1.0) is Choice.TIE
    for other in (Choice.LEFT, Choice.RIGHT, Choice.BOTH_BAD):
        assert await cast(bus, battle, other, 2.0) is Choice.TIE
    assert [row["type"] for row in await rows_of(bus, battle.id)] == ["tievote"]


async def test_a_vote_needs_a_battle_of_that_voter_and_those_models(bus: Bus) -> None:
    battle = await opened(bus)
    left, right = battle.sides
    strangers = [
        replace(battle, id=new_battle_id()),
        replace(battle, voter="somebody else"),
        replace(battle, anonymous=False),
        replace(battle, sides=(right, left)),
        replace(battle, sides=(left, replace(right, model="third-model"))),
    ]
    for stranger in strangers:
        with pytest.raises(BattleNotFound):
            await cast(bus, stranger, Choice.LEFT, 1.0)
    assert await rows_of(bus, battle.id) == []


async def test_a_battle_lives_for_a_day_after_its_last_turn(bus: Bus) -> None:
    battle, day = await opened(bus), 86_400_000
    key = keys.battle(battle.id)
    assert day - 60_000 < await bus.connection.command("PTTL", key) <= day
    await bus.connection.command("PEXPIRE", key, 60_000)
    said = [*TALK, {"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Still."}]
    on = replace(battle, sides=(Side("left-model", said), Side("right-model", said)))
    await open_battle(bus, on)
    assert await bus.connection.command("PTTL", key) > day - 60_000
    assert await cast(bus, on, Choice.RIGHT, 1.0)
    await bus.connection.command("DEL", key)  # as its time does
    with pytest.raises(BattleNotFound):
        await cast(bus, on, Choice.RIGHT, 1.0)
    assert len((await rows_of(bus, battle.id))[0]["states"][0]["messages"]) == 4


async def test_opening_again_does_not_take_the_vote_back(bus: Bus) -> None:
    battle = await opened(bus)
    await cast(bus, battle, Choice.LEFT, 1.0)
    await open_battle(bus, battle)
    assert await cast(bus, battle, Choice.RIGHT, 2.0) is Choice.LEFT


async def test_the_id_of_a_battle_is_not_another_s(bus: Bus) -> None:
    battle = await opened(bus)
    with pytest.raises(Conflict):
        await open_battle(bus, replace(battle, voter="somebody else"))
    assert await cast(bus, battle, Choice.LEFT, 1.0) is Choice.LEFT


async def test_twenty_voters_who_click_twice_have_twenty_votes(bus: Bus) -> None:
    battles = [await opened(bus, voter=f"voter {k}") for k in range(20)]
    clicks = [cast(bus, battle, choice, 1.0) for battle in battles for choice in (Choice.LEFT, Choice.RIGHT)]
    had = await asyncio.gather(*clicks)
    for k, battle in enumerate(battles):
        (row,) = await rows_of(bus, battle.id)
        assert {row["type"]} == {vote.value for vote in had[2 * k : 2 * k + 2]}
        assert row["ip"] == f"voter {k}"


async def test_a_vote_has_the_fields_that_fastchat_writes(bus: Bus) -> None:
    battle = await opened(bus)
    await cast(bus, battle, Choice.BOTH_BAD, 1700000000.123456)
    (row,) = await rows_of(bus, battle.id)
    assert list(row) == ["tstamp", "type", "models", "states", "ip", "battle_id"]
    assert (row["tstamp"], row["type"], row["ip"]) == (1700000000.1235, "bothbad_vote", "somebody")
    assert row["models"] == ["", ""]
    left, right = row["states"]
    assert list(left) == STATE
    assert (left["system_message"], left["roles"], left["offset"]) == ("Be brief.", ["user", "assistant"], 0)
    assert left["messages"] == [["user", "Who are you?"], ["assistant", "A model."]]
    assert (left["model_name"], right["model_name"]) == ("left-model", "right-model")
    assert left["conv_id"] != right["conv_id"]
    assert [len(state["conv_id"]) for state in (left, right)] == [32, 32]


async def test_a_named_battle_is_logged_with_the_names_that_the_voter_saw(bus: Bus) -> None:
    battle = await opened(bus, anonymous=False)
    await cast(bus, battle, Choice.LEFT, 1.0)
    assert (await rows_of(bus, battle.id))[0]["models"] == ["left-model", "right-model"]


def test_a_chat_has_the_fields_that_fastchat_writes() -> None:
    asked = {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 1024}
    side = Side("a-model", TALK, "c0ffee")
    row = LogLine(Event.CHAT, [side], "somebody", 3.0, parameters=asked, started=1.00001, ended=2.5).row()
    assert list(row) == ["tstamp", "type", "model", "gen_params", "start", "finish", "state", "ip"]
    assert (row["type"], row["model"], row["gen_params"]) == ("chat", "a-model", asked)
    assert (row["start"], row["finish"], row["tstamp"]) == (1.0, 2.5, 3.0)
    assert row["state"]["conv_id"] == "c0ffee"


@pytest.mark.parametrize("event", [Event.UPVOTE, Event.DOWNVOTE, Event.FLAG])
def test_what_is_thought_of_an_answer_has_the_fields_that_fastchat_writes(event: Event) -> None:
    row = LogLine(event, [Side("a-model", TALK, "c0ffee")], "somebody", 3.0).row()
    assert list(row) == ["tstamp", "type", "model", "state", "ip"]
    assert row["type"] == event.value


def test_a_shared_battle_has_the_fields_that_fastchat_writes() -> None:
    battle = a_battle()
    row = LogLine(Event.SHARE, battle.sides, battle.voter, 3.0, anonymous=True, battle=battle.id).row()
    assert list(row) == ["tstamp", "type", "models", "states", "ip", "battle_id"]
    assert (row["type"], row["models"]) == ("share", ["", ""])


async def test_a_line_that_is_sent_again_is_logged_once(bus: Bus) -> None:
    line = LogLine(Event.FLAG, [Side("a-model", TALK)], "somebody", 3.0, battle=new_battle_id())
    for _ in range(3):
        await record(bus, line)
    assert len(await rows_of(bus, line.battle)) == 1
    await record(bus, LogLine(Event.FLAG, [Side("a-model", TALK)], "somebody", 3.0, battle=line.battle))
    assert len(await rows_of(bus, line.battle)) == 2


async def test_images_are_logged_by_their_hash_alone(bus: Bus) -> None:
    url = "data:image/png;base64,QUJD"
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    side = Side("eyes", [{"role": "user", "content": parts}, {"role": "assistant", "content": "A cat."}])
    battle = replace(a_battle(), sides=(side, side))
    await open_battle(bus, battle)
    await cast(bus, battle, Choice.LEFT, 1.0)
    (entry,) = [entry for entry in await read_lines(bus, 1000) if battle.id.encode() in entry.line]
    assert entry.images
    assert entry.file_name.startswith("vision-tmp-")
    assert b"QUJD" not in entry.line
    digest = hashlib.md5(url.encode()).hexdigest()
    said = orjson.loads(entry.line)["states"][0]["messages"]
    assert said == [["user", ["What is this?", [digest]]], ["assistant", "A cat."]]


def test_an_answer_that_never_came_is_logged_as_none() -> None:
    silent = Side("a-model", [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": ""}])
    row = LogLine(Event.CHAT, [silent], "somebody", 1.0).row()
    assert row["state"]["messages"] == [["user", "Hello?"], ["assistant", None]]


async def test_what_waits_is_counted_with_its_age(bus: Bus) -> None:
    before = await look_at_backlog(bus)
    battle = await opened(bus)
    await cast(bus, battle, Choice.LEFT, 1.0)
    after = await look_at_backlog(bus)
    assert after.lines == before.lines + 1
    assert after.oldest_s >= 0


async def test_chats_give_way_to_answers_when_memory_is_low_and_votes_do_not(tmp_path: Path) -> None:
    with a_redis(tmp_path) as url:
        bus = await Bus(url).open()
        battle = await opened(bus)
        (info,) = (await bus.connection.everywhere("INFO", "memory")).values()
        used = int(info["used_memory"] if isinstance(info, dict) else info.split(b"used_memory:")[1].split()[0])
        await bus.connection.command("CONFIG", "SET", "maxmemory", int(used * 1.1))
        with pytest.raises(MemoryLow):
            await record(bus, LogLine(Event.CHAT, [Side("a-model", TALK)], "somebody", 1.0))
        assert await cast(bus, battle, Choice.LEFT, 1.0)
        assert (await look_at_backlog(bus)).lines == 1
        await bus.close()
