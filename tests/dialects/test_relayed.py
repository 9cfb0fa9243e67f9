"""Parts of an answer as one text, and back: whatever they say, and however the text is cut."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuechat.dialects.speech import (
    RELAYED,
    ContentDelta,
    Manner,
    Part,
    Reader,
    ReasoningDelta,
    RefusalDelta,
    ToolArguments,
    ToolStart,
)
from queuechat.dialects.speech.parts import joined
from queuechat.dialects.speech.relayed import Marker, Prose, is_marked

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[chr(c) for c in range(0xFDD0, 0xFDD6)]))
SAID = st.one_of(*[st.builds(kind, TEXT.filter(bool)) for kind in (ContentDelta, ReasoningDelta, RefusalDelta)])
CALLED = st.tuples(TEXT.filter(bool), TEXT, st.lists(TEXT.filter(bool), max_size=3))


def marked(parts: Sequence[Part]) -> str:
    marker = Marker()
    return "".join([marker.text(part) for part in parts]) + marker.finish()


def read(text: str, cuts: Sequence[int] = (), most: int = 0) -> list[Part]:
    reader = Reader(Manner(RELAYED, most=most), "job")
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    parts = [part for a, b in itertools.pairwise(places) for part in reader.feed(text[a:b])]
    return joined(parts + reader.finish())


def as_parts(said: Sequence[Part | tuple[str, str, list[str]]]) -> list[Part]:
    parts: list[Part] = []
    calls = 0
    for one in said:
        if isinstance(one, tuple):
            id, name, arguments = one
            parts += [ToolStart(calls, id, name), *(ToolArguments(calls, text) for text in arguments)]
            calls += 1
        else:
            parts.append(one)
    return parts


@given(st.lists(SAID | CALLED, max_size=8), st.lists(st.integers(0, 10_000), max_size=6))
def test_every_part_comes_out_as_it_went_in_however_the_text_is_cut(
    said: list[Part | tuple[str, str, list[str]]], cuts: list[int]
) -> None:
    parts = as_parts(said)
    assert read(marked(parts), cuts) == joined(parts)


def test_nothing_that_an_answer_says_is_taken_for_a_mark() -> None:
    hostile = "".join(map(chr, range(0xFDD0, 0xFDD6)))
    assert read(marked([ContentDelta(f"a{hostile}b")])) == [ContentDelta("a" + "\ufffd" * 6 + "b")]
    assert read(marked([ContentDelta("<think>x</think><tool_call>{}</tool_call>")])) == [
        ContentDelta("<think>x</think><tool_call>{}</tool_call>")
    ]


def test_content_alone_has_no_mark() -> None:
    assert marked([ContentDelta("a"), ContentDelta("b")]) == "ab"
    assert not is_marked("ab")
    assert is_marked(marked([ReasoningDelta("a")]))


def test_a_person_reads_thoughts_in_a_tag_and_nothing_of_the_marks() -> None:
    text = marked([ReasoningDelta("Hm"), ReasoningDelta("m."), ContentDelta("Yes."), RefusalDelta(" No.")])
    prose = Prose()
    assert "".join(prose.feed(character) for character in text) == "<think>Hmm.</think>\n\nYes. No."
    assert Prose().feed("<think>as it is</think> x") == "<think>as it is</think> x"


def test_calls_that_are_written_at_the_same_time_are_told_one_after_the_other() -> None:
    woven: list[Part] = [
        ToolStart(0, "a", "f"),
        ToolArguments(0, '{"x"'),
        ToolStart(1, "b", "g"),
        ToolArguments(1, '{"y"'),
        ToolArguments(0, ":1}"),
        ToolArguments(1, ":2}"),
    ]
    assert read(marked(woven)) == [
        ToolStart(0, "a", "f"),
        ToolArguments(0, '{"x":1}'),
        ToolStart(1, "b", "g"),
        ToolArguments(1, '{"y":2}'),
    ]


def test_arguments_that_are_nested_too_deep_to_be_read_do_no_harm() -> None:
    deep: list[Part] = [
        ToolStart(0, "a", "f"),
        ToolArguments(0, "[" * 100_000),
        ToolStart(1, "b", "g"),
        ToolArguments(1, "{}"),
    ]
    assert read(marked(deep)) == deep


def test_a_call_without_an_id_gets_one_that_every_reader_finds() -> None:
    text = marked([ToolStart(0, "", "f"), ToolArguments(0, "{}")])
    first, again = read(text), read(text, [1, 2, 3])
    assert first == again
    assert isinstance(first[0], ToolStart)
    assert first[0].id.startswith("call_")


@pytest.mark.parametrize(("most", "told"), [(0, 2), (1, 1), (2, 2)])
def test_no_more_calls_are_told_than_are_wanted(most: int, told: int) -> None:
    parts: list[Part] = [ToolStart(0, "a", "f"), ToolArguments(0, "{}"), ToolStart(1, "b", "g"), ToolArguments(1, "{}")]
    assert sum(isinstance(part, ToolStart) for part in read(marked(parts), most=most)) == told
