"""One gate for all questions: limits, rates, terms, and how the page tells of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from queuechat.bus import Bus
from queuechat.errors import InvalidRequest, PermissionDenied, RateLimited
from queuechat.rates import Rates
from tests.ui.gate.test_moderation import said
from tests.ui.scribe import Scribe
from ui import wording
from ui.desk import Desk
from ui.gate.gate import Gate
from ui.gate.limits import Limits
from ui.gate.people import STRANGER, Visit
from ui.gate.refusals import TermsNotAccepted
from ui.gate.terms import read_terms
from ui.talk.exchange import Exchange, Options
from ui.talk.reply import reply


@pytest.mark.parametrize(
    ("limits", "texts", "told"),
    [
        (Limits(question=5), ["123456"], "Your question has 6 characters and may have 5: shorten it"),
        (Limits(question=5), ["1234567", "long answer", "12345"], ""),
        (Limits(turns=2), ["a", "b", "c"], ""),
        (Limits(turns=2), ["a", "b", "c", "d", "e"], "This conversation has had its 2 questions: begin a new one"),
        (Limits(conversation=9), ["123", "456", "789"], ""),
        (
            Limits(conversation=9),
            ["123", "4567", "789"],
            "conversation has 10 characters and may have 9: begin a new one",
        ),
        (Limits(), ["x" * 100_000], ""),
    ],
)
async def test_limits_are_told_with_what_to_do(limits: Limits, texts: list[str], told: str) -> None:
    gate = Gate(limits=limits)
    if not told:
        await gate.admit(STRANGER, said(*texts))
        return
    with pytest.raises(InvalidRequest) as caught:
        await gate.admit(STRANGER, said(*texts))
    assert told in caught.value.message


async def test_a_system_prompt_counts_as_part_of_the_conversation() -> None:
    with pytest.raises(InvalidRequest, match="has 12 characters"):
        await Gate(limits=Limits(conversation=9)).admit(STRANGER, said("hi", system="x" * 10))


async def test_a_person_asks_so_many_questions_a_minute_and_others_go_on(bus: Bus) -> None:
    gate = Gate(Rates(bus), rpm=2)
    for _ in range(2):
        await gate.admit(Visit("ann"), said("hello"))
    with pytest.raises(RateLimited) as caught:
        await gate.admit(Visit("ann"), said("hello"))
    assert 0 < (caught.value.retry_after or 0) <= 30
    assert "ask 2 questions a minute. Ask again in" in wording.notice_of(caught.value, "m")
    await gate.admit(Visit("bob"), said("hello"))


async def test_a_battle_is_one_question(bus: Bus) -> None:
    gate, battle = Gate(Rates(bus), rpm=1), Visit("ann")
    await asyncio.gather(*(gate.admit(battle, said("hello")) for _ in range(2)))
    with pytest.raises(RateLimited):
        await gate.admit(Visit("ann"), said("hello"))


async def test_what_somebody_thinks_of_answers_counts_as_questions_do(bus: Bus) -> None:
    gate = Gate(Rates(bus), rpm=2)
    await gate.admit(Visit("ann"), said("hello"))
    await gate.hear(Visit("ann"))
    with pytest.raises(RateLimited):
        await gate.hear(Visit("ann"))
    with pytest.raises(PermissionDenied):
        await gate.hear(STRANGER)


async def test_what_is_too_long_costs_no_question(bus: Bus) -> None:
    gate = Gate(Rates(bus), rpm=1, limits=Limits(question=3))
    for _ in range(3):
        with pytest.raises(InvalidRequest):
            await gate.admit(Visit("ann"), said("hello"))
    await gate.admit(Visit("ann"), said("hi"))


@pytest.mark.parametrize("gate", [Gate(rpm=60), Gate(known=True)])
async def test_who_came_by_no_door_may_ask_nothing_where_visitors_must_be_known(gate: Gate) -> None:
    with pytest.raises(PermissionDenied, match="reload the page"):
        await gate.admit(STRANGER, said("hello"))


async def test_terms_come_before_questions_and_again_when_they_change(tmp_path: Path) -> None:
    file = tmp_path / "terms.md"
    file.write_text("Be kind.")
    accepted = read_terms(file).hash
    await Gate(terms=read_terms(file)).admit(Visit("ann", terms=accepted), said("hello"))
    file.write_text("Be kind. Really.")
    for terms in ("", accepted):
        with pytest.raises(TermsNotAccepted):
            await Gate(terms=read_terms(file)).admit(Visit("ann", terms=terms), said("hello"))


def test_terms_are_shown_without_tags_scripts_or_pictures_from_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "terms.md"
    file.write_text(
        "# Terms\n<script>alert(1)</script> <b onclick=x>b</b> [a](javascript:alert(1)) [b](data:text/html,x) "
        '[c](https://example.org/"onmouseover=x) ![d](https://example.org/p.png)\n\n<iframe src=x>\n'
    )
    shown = read_terms(file).html
    assert "<h1>Terms</h1>" in shown
    for tag in ("<script", "<b", "<iframe", "<img", 'href="javascript', 'href="data', '"onmouseover'):
        assert tag not in shown


async def test_what_is_refused_is_told_in_the_conversation_and_never_sent(desk: Desk, bus: Bus) -> None:
    guarded = replace(desk, gate=Gate(limits=Limits(question=3)))
    async with Scribe(bus, "m") as scribe:
        await desk.roster.refresh()
        question = [Exchange("hello there")]
        frames = [frame async for frame in reply(guarded, question, Options("m"), asyncio.Event(), Visit("ann"))]
        assert scribe.jobs == []
    assert frames[-1].settled
    assert frames[-1].exchange.notice == "Your question has 11 characters and may have 3: shorten it."
    assert frames[-1].exchange.question == "hello there"
