"""Battles against a real Redis and workers that write prepared answers, through the handlers that the page calls."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import orjson
import pytest
from PIL import Image

from queuechat import battles, keys
from queuechat.battles import Choice
from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.errors import NoWorker
from queuechat.protocol import Failure, Job
from queuechat.roster import Roster
from tests.conftest import free_port, start_redis
from tests.ui.scribe import Scribe
from ui.arena.pairing import Pairs
from ui.arena.tab import WORDS, ArenaTab
from ui.board import Board
from ui.desk import Desk
from ui.duel.duel import Duel
from ui.duel.stage import Stage, Updates
from ui.gate.gate import Gate
from ui.gate.limits import Limits
from ui.gate.people import STRANGER
from ui.talk.exchange import Exchange

CALLER = SimpleNamespace(session_hash="page", request=None)


def the_tab(desk: Desk) -> ArenaTab:
    with gr.Blocks():
        return ArenaTab(desk, Stage(WORDS))


@pytest.fixture
def tab(desk: Desk) -> ArenaTab:
    return the_tab(desk)


@pytest.fixture
async def rivals(bus: Bus, desk: Desk) -> AsyncIterator[tuple[Scribe, Scribe]]:
    async with Scribe(bus, "secret-ant") as ant, Scribe(bus, "secret-bee") as bee:
        await desk.roster.refresh()
        yield ant, bee


async def fought(tab: ArenaTab, question: str, id: Any = None) -> tuple[str, Updates]:
    """The duel's id, and what the page was told last of each component."""
    told: Updates = {}
    async with aclosing(tab.ask(CALLER, {"text": question, "files": []}, id)) as updates:
        async for update in updates:
            told |= update
    return told.get(tab.stage.kept) or id, told


async def logged(bus: Bus) -> list[dict[str, Any]]:
    entries = await bus.connection.command("XRANGE", keys.LINES, "-", "+")
    return [orjson.loads(fields[b"line"]) for _, fields in entries]


def hint(tab: ArenaTab, told: Updates) -> str:
    return re.sub("<[^>]*>", "", told[tab.stage.hint])


def open_votes(tab: ArenaTab, told: Updates) -> bool:
    return all(told[button]["interactive"] for button in tab.stage.votes.values())


async def test_a_battle_is_fought_and_its_vote_counted_for_both_models(
    tab: ArenaTab, bus: Bus, rivals: tuple[Scribe, Scribe]
) -> None:
    id, told = await fought(tab, "good morning")
    assert open_votes(tab, told)
    verdict = await tab.vote(id, Choice.LEFT)
    assert "secret-ant" in verdict[tab.stage.verdict]
    assert not open_votes(tab, verdict)
    assert await battles.votes(bus) == {"secret-ant": 1, "secret-bee": 1}
    again = await tab.vote(id, Choice.RIGHT)
    assert "You found A better" in again[tab.stage.verdict]
    assert [row["type"] for row in await logged(bus)] == ["chat", "chat", "leftvote"]
    assert {len(scribe.jobs) for scribe in rivals} == {1}


@pytest.mark.usefixtures("rivals")
async def test_a_double_click_counts_once(tab: ArenaTab, bus: Bus) -> None:
    id, _ = await fought(tab, "good morning")
    await asyncio.gather(*(tab.vote(id, Choice.TIE) for _ in range(2)))
    assert [row["type"] for row in await logged(bus)].count("tievote") == 1
    assert await battles.votes(bus) == {"secret-ant": 1, "secret-bee": 1}


async def test_a_model_that_tells_who_it_is_is_logged_and_marked_and_not_rated(
    tab: ArenaTab, bus: Bus, rivals: tuple[Scribe, Scribe]
) -> None:
    rivals[0].script = lambda _: "As Secret-Ant I cannot say."
    id, _ = await fought(tab, "who are you?")
    rivals[0].script = lambda _: "I shall not tell."
    await fought(tab, "who, again?", id)
    verdict = await tab.vote(id, Choice.RIGHT)
    assert "does not rate" in verdict[tab.stage.verdict]
    row = (await logged(bus))[-1]
    assert (row["type"], row["leaked"]) == ("rightvote", True)
    assert await battles.votes(bus) == {}


async def test_the_page_shows_the_vote_that_counts_though_it_heard_of_another(
    tab: ArenaTab, bus: Bus, rivals: tuple[Scribe, Scribe]
) -> None:
    id, _ = await fought(tab, "good morning")
    duel = tab.tables.get(id)
    assert duel
    await battles.cast(bus, duel.battle(), Choice.LEFT, 1.0)  # its answer was lost on the way to the page
    told = await tab.vote(id, Choice.RIGHT)
    assert "You found A better" in told[tab.stage.verdict]
    assert "earlier vote" in hint(tab, told)


async def test_words_that_hold_the_name_of_a_maker_tell_nobody(tab: ArenaTab, rivals: tuple[Scribe, Scribe]) -> None:
    rivals[0].script = lambda _: "A coherent story about a llama under palm trees, and a bard called Claude."
    id, _ = await fought(tab, "tell a story")
    assert "does not rate" not in (await tab.vote(id, Choice.TIE))[tab.stage.verdict]


async def test_what_was_read_counts_as_told_though_its_reader_left_and_asked_again(
    tab: ArenaTab, rivals: tuple[Scribe, Scribe]
) -> None:
    rivals[0].script = lambda _: "I am secret-ant, and " + "so on " * 100
    rivals[0].rate = 100
    asking = tab.ask(CALLER, {"text": "who are you?", "files": []}, None)
    async for told in asking:
        if "secret-ant" in repr(told.get(tab.stage.bots[0])):
            break
    await asking.aclose()
    (id,) = tab.tables._duels
    duel = tab.tables.get(id)
    assert duel
    assert duel.leaked


async def test_a_question_that_the_gate_refuses_leaves_nothing_behind(tab: ArenaTab, bus: Bus, desk: Desk) -> None:
    strict = replace(desk, gate=Gate(limits=Limits(question=10)))
    tab = the_tab(strict)
    async with Scribe(bus, "secret-ant"), Scribe(bus, "secret-bee"):
        await desk.roster.refresh()
        _, told = await fought(tab, "a question that is far too long")
    assert told[tab.stage.box]["value"]["text"] == "a question that is far too long"
    assert "characters" in hint(tab, told)
    assert not tab.tables._duels
    assert await bus.connection.command("KEYS", keys.battle("*")) == []


@pytest.mark.usefixtures("rivals")
async def test_a_battle_that_is_shared_twice_is_logged_as_shared_once(tab: ArenaTab, bus: Bus) -> None:
    id, _ = await fought(tab, "good morning")
    for _ in range(2):
        await tab.shared(id)
    assert [row["type"] for row in await logged(bus)].count("share") == 1


async def test_a_side_that_fails_keeps_its_name_and_its_own_retry(tab: ArenaTab, rivals: tuple[Scribe, Scribe]) -> None:
    def broken(job: Job) -> Failure:
        return Failure("engine_error", f"{job.model} at secret-ant.example is out of memory")

    rivals[0].script = broken
    id, told = await fought(tab, "good morning")
    assert not open_votes(tab, told)
    assert sorted(told[button]["visible"] for button in tab.stage.retries) == [False, True]
    assert "secret" not in repr(list(told.values()))
    assert tab.stage.verdict not in await tab.vote(id, Choice.TIE)
    duel = tab.tables.get(id)
    assert duel is not None
    (side,) = duel.failed
    rivals[0].script = lambda _: "Here I am."
    told = {}
    async with aclosing(tab.retrying((side,))(CALLER, id)) as updates:
        async for update in updates:
            told |= update
    assert open_votes(tab, told)
    assert [len(scribe.jobs) for scribe in rivals] == [2, 1]


async def test_a_vote_that_redis_did_not_hear_is_cast_again(tmp_path: Path) -> None:
    port = free_port()
    redis = await asyncio.to_thread(start_redis, tmp_path, port)
    bus = await Bus(f"redis://127.0.0.1:{port}", patience_s=0.5).open()
    async with Client(bus) as client, Roster(bus) as roster, Board(bus, roster) as board:
        tab = the_tab(Desk(client, roster, board))
        settled = (Exchange("q", "a"),)
        duel = tab.tables.put(Duel(("ant", "bee"), "voter", anonymous=True, talks=(settled, settled)))
        await battles.open_battle(bus, duel.battle())
        redis.kill()
        redis.wait()
        told = await tab.vote(duel.id, Choice.TIE)
        assert "vote again" in hint(tab, told)
        assert open_votes(tab, told)
        assert "ant" not in told[tab.stage.verdict]
        redis = await asyncio.to_thread(start_redis, tmp_path, port)
        told = await tab.vote(duel.id, Choice.TIE)
        assert "You found both equally good" in told[tab.stage.verdict]
        assert [row["type"] for row in await logged(bus)] == ["tievote"]
    await bus.close()
    redis.kill()
    redis.wait()


async def test_a_battle_that_could_not_be_opened_is_opened_at_its_vote(tab: ArenaTab, bus: Bus) -> None:
    settled = (Exchange("q", "a"),)
    duel = tab.tables.put(Duel(("ant", "bee"), "voter", anonymous=True, talks=(settled, settled)))
    told = await tab.vote(duel.id, Choice.TIE)
    assert "You found both equally good" in told[tab.stage.verdict]
    assert await battles.votes(bus) == {"ant": 1, "bee": 1}


async def test_a_battle_that_this_server_does_not_know_is_not_voted_on(tab: ArenaTab) -> None:
    told = await tab.vote("00" * 16, Choice.TIE)
    assert "no longer knows" in hint(tab, told)
    assert told[tab.stage.kept] is None


async def test_a_lone_model_is_told_that_it_needs_another(tab: ArenaTab, desk: Desk, bus: Bus) -> None:
    _, told = await fought(tab, "good morning")
    assert "none is served" in hint(tab, told)
    async with Scribe(bus, "ant"):
        await desk.roster.refresh()
        _, told = await fought(tab, "good morning")
        assert "only ant is served. Start another with queuechat worker" in hint(tab, told)
        assert told[tab.stage.box]["value"]["text"] == "good morning"


async def test_a_model_without_votes_comes_first_where_that_is_asked(bus: Bus, desk: Desk) -> None:
    tab = the_tab(replace(desk, pairs=Pairs(fewer_votes_first=True)))
    async with Scribe(bus, "ant"), Scribe(bus, "bee"), Scribe(bus, "cat"):
        await desk.roster.refresh()
        for name in ("ant", "bee"):
            await bus.connection.command("HSET", keys.VOTES, name, 10**9)
        for _ in range(20):
            duel = await tab.begin(STRANGER, Exchange("q"))
            assert "cat" in duel.models


async def test_a_question_with_an_image_is_for_models_that_see(tab: ArenaTab, desk: Desk, bus: Bus) -> None:
    picture = Exchange("what is this?", images=("data:image/png;base64,AAAA",))
    async with Scribe(bus, "blind"), Scribe(bus, "eye", vision=True):
        await desk.roster.refresh()
        with pytest.raises(NoWorker, match="two models that take images, and only eye is served"):
            await tab.begin(STRANGER, picture)
        async with Scribe(bus, "lens", vision=True):
            await desk.roster.refresh()
            duel = await tab.begin(STRANGER, picture)
            assert sorted(duel.models) == ["eye", "lens"]


async def test_an_image_in_the_middle_of_a_battle_of_the_blind_asks_for_a_new_round(
    tab: ArenaTab, rivals: tuple[Scribe, Scribe], tmp_path: Path
) -> None:
    id, _ = await fought(tab, "good morning")
    file = tmp_path / "dot.png"
    Image.new("RGB", (4, 4), "red").save(file)
    told: Updates = {}
    async with aclosing(tab.ask(CALLER, {"text": "and this?", "files": [str(file)]}, id)) as updates:
        async for update in updates:
            told |= update
    assert "Start a new round with the image" in hint(tab, told)
    assert told[tab.stage.box]["value"] == {"text": "and this?", "files": []}
    assert [len(scribe.jobs) for scribe in rivals] == [1, 1]


async def test_both_sides_are_shown_the_image(tab: ArenaTab, desk: Desk, bus: Bus, tmp_path: Path) -> None:
    file = tmp_path / "dot.png"
    Image.new("RGB", (4, 4), "red").save(file)
    async with Scribe(bus, "blind"), Scribe(bus, "eye", vision=True) as eye, Scribe(bus, "lens", vision=True) as lens:
        await desk.roster.refresh()
        told: Updates = {}
        async with aclosing(tab.ask(CALLER, {"text": "what is this?", "files": [str(file)]}, None)) as updates:
            async for update in updates:
                told |= update
        assert open_votes(tab, told)
        await tab.vote(told[tab.stage.kept], Choice.LEFT)
    assert [len(scribe.jobs[0].images) for scribe in (eye, lens)] == [1, 1]
    row = (await logged(bus))[-1]
    assert [len(state["messages"][0][1][1]) for state in row["states"]] == [1, 1]


async def test_a_page_that_leaves_cancels_both_sides(tab: ArenaTab, bus: Bus, rivals: tuple[Scribe, Scribe]) -> None:
    for scribe in rivals:
        scribe.pen.clear()
    asking = asyncio.create_task(fought(tab, "good morning"))
    while not all(scribe.jobs for scribe in rivals):
        await asyncio.sleep(0.01)
    tab.leave(CALLER)
    _, told = await asking
    assert not open_votes(tab, told)
    for scribe in rivals:
        depth = await bus.depth(scribe.model)
        assert (depth.waiting, depth.running) == (0, 0)
