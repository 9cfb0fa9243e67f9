"""What the Chat tab writes to the log, through a real Redis."""

from __future__ import annotations

import orjson

from queuechat.backlog import read_lines
from queuechat.battles import Event
from queuechat.bus import Bus
from ui.chat.recording import Talk, answered, judged
from ui.talk.exchange import Exchange, Options

TALK = Talk("c1", [Exchange("one", "1", model="m"), Exchange("two", "2", model="n")], "someone")


async def logged(bus: Bus) -> list[dict[str, object]]:
    return [orjson.loads(entry.line) for entry in await read_lines(bus, 10)]


async def test_an_answer_is_logged_with_its_conversation_and_parameters(bus: Bus) -> None:
    await answered(bus, TALK, Options("n", temperature=0.5, max_tokens=9), began=100.0)
    (row,) = await logged(bus)
    assert (row["type"], row["model"], row["ip"], row["start"]) == ("chat", "n", "someone", 100.0)
    assert row["gen_params"] == {"temperature": 0.5, "top_p": 1.0, "max_new_tokens": 9}
    state = row["state"]
    assert isinstance(state, dict)
    assert state["conv_id"] == "c1"
    assert state["messages"] == [["user", "one"], ["assistant", "1"], ["user", "two"], ["assistant", "2"]]


async def test_an_answer_that_never_came_is_not_logged(bus: Bus) -> None:
    await answered(bus, Talk("c1", [Exchange("one", notice="no worker")], "someone"), Options("m"), began=1.0)
    assert await logged(bus) == []


async def test_the_same_verdict_on_the_same_answer_is_logged_once(bus: Bus) -> None:
    assert [await judged(bus, TALK, event) for event in (Event.UPVOTE, Event.UPVOTE, Event.FLAG)] == [True] * 3
    assert [row["type"] for row in await logged(bus)] == ["upvote", "flag"]
