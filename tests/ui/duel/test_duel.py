"""Pure parts of a duel: what it is, what a page may see of it, two streams as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from queuechat.battles import Choice
from ui import wording
from ui.duel.duel import Duel
from ui.duel.merging import together
from ui.duel.scene import Scene, scene_of
from ui.duel.tables import Tables
from ui.talk.exchange import Exchange
from ui.talk.reply import Frame

MODELS = ("secret-ant", "secret-<b>ee")


def a_duel(anonymous: bool = True) -> Duel:
    return Duel(MODELS, "voter", anonymous)


def answered(duel: Duel, left: str = "one", right: str = "two") -> Duel:
    frames = {side: Frame(replace(duel.talks[side][-1], answer=text)) for side, text in enumerate((left, right))}
    return duel.heard(frames)


SETTLED = answered(a_duel().asked(Exchange("why?")))


def test_a_duel_can_be_voted_on_when_both_sides_have_answered_and_only_once() -> None:
    fresh = a_duel()
    asked = fresh.asked(Exchange("why?"))
    voted = SETTLED.voted(Choice.TIE)
    assert [d.votable for d in (fresh, asked, SETTLED, voted)] == [False, False, True, False]
    assert [d.hidden for d in (fresh, asked, SETTLED, voted)] == [True, True, True, False]
    assert not a_duel(anonymous=False).hidden


def test_a_side_that_failed_blocks_the_vote_until_it_has_answered() -> None:
    failed = SETTLED.heard({1: Frame(Exchange("why?", "half", notice="broken"))})
    assert (failed.failed, failed.votable) == ((1,), False)
    asked = failed.again((1,))
    assert asked.talks[0] == SETTLED.talks[0]
    assert asked.talks[1] == (Exchange("why?"),)
    assert asked.heard({1: Frame(Exchange("why?", "whole"))}).votable


def test_an_answer_whose_reader_left_is_no_answer_to_vote_on() -> None:
    left = SETTLED.heard({0: Frame(Exchange("why?", "o"), live="1 token")})
    assert left.talks[0][-1].notice == wording.LEFT
    assert not left.votable


def test_what_is_recorded_holds_both_conversations_with_their_last_answers() -> None:
    twice = answered(SETTLED.asked(Exchange("and then?")), "three", "four")
    battle = twice.battle()
    assert [side.model for side in battle.sides] == list(MODELS)
    assert [message["content"] for message in battle.sides[1].messages] == ["why?", "two", "and then?", "four"]
    assert len({side.conv_id for side in battle.sides} | {battle.id}) == 3


def everything(scene: Scene) -> str:
    return repr(scene)


def test_no_scene_tells_the_names_before_the_vote() -> None:
    talking = SETTLED.heard({0: Frame(Exchange("why?", "o", model=MODELS[0]), live="1 token")})
    scenes = [scene_of(SETTLED), scene_of(talking, {0: Frame(Exchange("why?", "o", model=MODELS[0]), live="1 token")})]
    assert all("secret" not in everything(scene) for scene in scenes)
    assert "Model A" in scenes[0].heads[0]


def test_after_the_vote_names_are_told_and_escaped() -> None:
    scene = scene_of(SETTLED.voted(Choice.RIGHT))
    assert "secret-ant" in scene.heads[0]
    assert "secret-&lt;b&gt;ee" in scene.heads[1]
    assert "best" in scene.heads[1]
    assert "best" not in scene.heads[0]
    assert "You found B better. A is <b>secret-ant</b>, B is <b>secret-&lt;b&gt;ee</b>." in scene.verdict


def test_a_voter_learns_that_an_answer_which_told_who_it_was_spoiled_the_vote() -> None:
    assert "does not rate" in scene_of(replace(SETTLED, leaked=True).voted(Choice.TIE)).verdict
    assert "does not rate" not in scene_of(SETTLED.voted(Choice.TIE)).verdict


def test_a_scene_offers_what_can_be_done() -> None:
    failed = SETTLED.heard({1: Frame(Exchange("why?", notice="broken"))})
    assert scene_of(failed).retries == (False, True)
    busy = scene_of(failed, {1: Frame(Exchange("why?"), pending="Thinking")})
    assert (busy.busy, busy.votable, busy.retries) == (True, False, (False, False))
    assert scene_of(SETTLED).votable
    assert not scene_of(None).begun


# -- two streams as one --------------------------------------------------------------------------------------------


async def side(texts: list[str], gate: asyncio.Event | None = None) -> AsyncGenerator[Frame, None]:
    yield Frame(Exchange("q"), pending="Thinking")
    if gate:
        await gate.wait()
    for text in texts:
        yield Frame(Exchange("q", text), live="x")
        await asyncio.sleep(0)
    yield Frame(Exchange("q", "".join(texts)))


async def test_a_side_that_hangs_holds_up_no_other_and_the_end_brings_both_answers() -> None:
    gate = asyncio.Event()
    async for frames in together({0: side(["a", "b"]), 1: side(["c"], gate)}, tempo_s=0):
        if frames[0].settled and not gate.is_set():
            assert frames[1].pending
            gate.set()
    assert [frames[k].exchange.answer for k in (0, 1)] == ["ab", "c"]
    assert frames[0].settled
    assert frames[1].settled


async def test_who_leaves_early_leaves_both_sides() -> None:
    left: list[int] = []

    async def endless(number: int) -> AsyncGenerator[Frame, None]:
        try:
            while True:
                yield Frame(Exchange("q", "more"), live="x")
                await asyncio.sleep(0)
        finally:
            left.append(number)

    merged = together({0: endless(0), 1: endless(1)}, tempo_s=0)
    await anext(merged)
    await merged.aclose()
    assert sorted(left) == [0, 1]


async def test_a_bug_in_a_side_is_not_swallowed() -> None:
    async def broken() -> AsyncGenerator[Frame, None]:
        yield Frame(Exchange("q"), pending="Thinking")
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        async for _ in together({0: side(["a"]), 1: broken()}, tempo_s=0):
            pass


# -- tables --------------------------------------------------------------------------------------------------------


def test_the_duel_that_was_left_alone_for_longest_makes_place() -> None:
    tables, duels = Tables(room=2), [a_duel() for _ in range(3)]
    tables.put(duels[0])
    tables.put(duels[1])
    tables.get(duels[0].id)
    tables.put(duels[2])
    assert [tables.get(duel.id) is not None for duel in duels] == [True, False, True]


def test_a_duel_that_its_page_has_left_does_not_come_back() -> None:
    tables, duel = Tables(), a_duel()
    tables.put(duel)
    tables.drop(duel.id)
    assert tables.change(duel.id, lambda d: d.voted(Choice.TIE)) is None
    assert tables.get(duel.id) is None


@pytest.mark.parametrize("junk", [None, 3, {"id": 1}, "unknown"])
def test_what_a_browser_makes_up_names_no_duel(junk: object) -> None:
    assert Tables().get(junk) is None


async def test_a_page_that_comes_back_waits_until_its_past_is_over() -> None:
    tables, duel = Tables(), a_duel()
    with tables.turn(duel.id):
        assert not await tables.at_rest(duel.id, 0)
        waiting = asyncio.create_task(tables.at_rest(duel.id, 60))
        await asyncio.sleep(0)
    assert await waiting
