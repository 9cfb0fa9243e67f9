"""From the text of a model to content, reasoning and calls, however the text is cut."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from queuechat.dialects.speech import (
    FORMATS,
    ContentDelta,
    Manner,
    Part,
    Reader,
    ReasoningDelta,
    ToolArguments,
    ToolStart,
)
from queuechat.dialects.speech.parts import joined

ID = "0" * 32
NAMES = frozenset({"look", "add"})


def manner(tools: str = "", reasoning: str = "", most: int = 0) -> Manner:
    return Manner(tools, NAMES, most, reasoning)


def parts(how: Manner, *texts: str) -> list[Part]:
    reader = Reader(how, ID)
    return joined([part for text in texts for part in reader.feed(text)] + reader.finish())


def told(how: Manner, *texts: str) -> dict[str, Any]:
    """What a whole answer would hold."""
    got = parts(how, *texts)
    calls: list[list[str]] = []
    for part in got:
        if isinstance(part, ToolStart):
            assert part.index == len(calls)
            calls.append([part.name, ""])
        elif isinstance(part, ToolArguments):
            assert part.index == len(calls) - 1
            calls[-1][1] += part.text
    text = {kind: "".join(p.text for p in got if isinstance(p, kind)) for kind in (ContentDelta, ReasoningDelta)}
    return {"content": text[ContentDelta], "reasoning": text[ReasoningDelta], "calls": [(n, a) for n, a in calls]}


def said(content: str, *calls: tuple[str, str], reasoning: str = "") -> dict[str, Any]:
    return {"content": content, "reasoning": reasoning, "calls": list(calls)}


LOOK = ("look", '{"at": "a } \\" <b>"}')
ADD = ("add", '{"x": [1, {"y": 2}]}')
LOOK_JSON = '{"name": "look", "arguments": ' + LOOK[1] + "}"
ADD_JSON = '{"name": "add", "arguments": ' + ADD[1] + "}"

READ: list[tuple[str, str, dict[str, Any]]] = [
    ("hermes", f"<tool_call>\n{LOOK_JSON}\n</tool_call>", said("", LOOK)),
    (
        "hermes",
        f"Sure.\n<tool_call>\n{LOOK_JSON}\n</tool_call>\n<tool_call>{ADD_JSON}</tool_call>\n",
        said("Sure.", LOOK, ADD),
    ),
    ("hermes", f"<tool_call>{LOOK_JSON}\n{ADD_JSON}</tool_call> done", said(" done", LOOK, ADD)),
    ("hermes", f"<tool_call>{LOOK_JSON}<tool_call>{ADD_JSON}", said("", LOOK, ADD)),
    ("hermes", '<tool_call>{"arguments": {"x": 1}, "name": "add"}</tool_call>', said("", ("add", '{"x": 1}'))),
    ("hermes", '<tool_call>{"name": "add"}</tool_call>', said("", ("add", "{}"))),
    ("hermes", '<tool_call>{"name": "add", "arguments": null}</tool_call>', said("", ("add", "{}"))),
    ("hermes", '<tool_call>{"name": "add", "arguments": "{\\"x\\": 1}"}</tool_call>', said("", ("add", '{"x": 1}'))),
    ("hermes", '<tool_call>{"name": "new", "arguments": {}}</tool_call>', said("", ("new", "{}"))),
    ("hermes", '{"name": "look", "arguments": {}}', said('{"name": "look", "arguments": {}}')),
    ("llama3", '{"name": "add", "parameters": {"x": 1}}', said("", ("add", '{"x": 1}'))),
    ("llama3", f"<|python_tag|>{LOOK_JSON}; {ADD_JSON}", said("", LOOK, ADD)),
    ("llama3", f"Well. <|python_tag|>{LOOK_JSON}", said("Well.", LOOK)),
    ("llama3", '{"type": "function", "name": "add", "parameters": {}}', said("", ("add", "{}"))),
    ("mistral", f"[TOOL_CALLS] [{LOOK_JSON}, {ADD_JSON}]", said("", LOOK, ADD)),
    ("mistral", "[TOOL_CALLS]add[ARGS]" + ADD[1] + "[TOOL_CALLS]look" + LOOK[1], said("", ADD, LOOK)),
    ("mistral", "[TOOL_CALLS]add[CALL_ID]abcdefghi[ARGS]" + ADD[1], said("", ADD)),
    ("json", f"[{LOOK_JSON}, {ADD_JSON}]", said("", LOOK, ADD)),
    ("json", f"\n {LOOK_JSON}", said("", LOOK)),
]


@pytest.mark.parametrize(("form", "text", "wanted"), READ)
def test_calls_are_read_as_each_family_of_models_writes_them(form: str, text: str, wanted: dict[str, Any]) -> None:
    assert told(manner(form), text) == wanted
    assert told(manner(form), *text) == wanted


NO_CALLS = [
    ("hermes", "<tool_call>nothing</tool_call>"),
    ("hermes", '<tool_call>{"name": 5}</tool_call>'),
    ("hermes", '<tool_call>{"name": "add", "arguments": [1]}</tool_call>'),
    ("hermes", '<tool_call>{"name": "a b", "arguments": {}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "add", '),
    ("hermes", "<tool_call>"),
    ("hermes", "a < b and <tool_ and <<tool_call"),
    ("hermes", "  \n"),
    ("llama3", '{"name": "Ann", "age": 5}'),
    ("llama3", '{"answer": {"name": "look"}}'),
    ("llama3", "<|python_tag|>print(1)"),
    ("mistral", "[TOOL_CALLS]oh no {"),
    ("mistral", "[TOOL_CALLS] []"),
    ("mistral", "[TOOL_CALLS"),
    ("json", "[1, 2]"),
    ("json", "[]"),
    ("json", '{"name": "other", "arguments": {}}'),
    ("json", '"name"'),
]


@pytest.mark.parametrize(("form", "text"), NO_CALLS)
def test_what_only_looks_like_a_call_is_content_to_the_last_character(form: str, text: str) -> None:
    assert told(manner(form), text) == said(text)
    assert told(manner(form), *text) == said(text)


def test_a_call_after_a_broken_one_is_still_read() -> None:
    text = f'<tool_call>{{"name" <tool_call>{LOOK_JSON}</tool_call>'
    assert told(manner("hermes"), text) == said('<tool_call>{"name" ', LOOK)


def test_arguments_that_are_cut_short_stay_as_they_were_written() -> None:
    reader = Reader(manner("hermes"), ID)
    got = reader.feed('<tool_call>{"name": "add", "arguments": {"x": [1') + reader.finish()
    assert got == [ToolStart(0, got[0].id, "add"), ToolArguments(0, '{"x": [1')]  # type: ignore[union-attr]
    assert reader.called


def test_arguments_come_while_they_are_written() -> None:
    reader = Reader(manner("hermes"), ID)
    assert reader.feed('<tool_call>{"name": "add", "argu') == []
    (start, first) = reader.feed('ments": {"x')
    assert (start.name, first) == ("add", ToolArguments(0, '{"x'))  # type: ignore[union-attr]
    assert reader.feed('": 1') == [ToolArguments(0, '": 1')]


def test_the_ids_of_calls_are_the_same_for_every_reader_and_differ_from_each_other() -> None:
    text = f"<tool_call>{LOOK_JSON}</tool_call><tool_call>{ADD_JSON}</tool_call>"
    ids = [part.id for part in parts(manner("hermes"), text) if isinstance(part, ToolStart)]
    again = [part.id for part in parts(manner("hermes"), *text) if isinstance(part, ToolStart)]
    assert ids == again
    assert len(set(ids)) == 2
    assert all(id.startswith("call_") and len(id) == 29 and int(id[5:], 16) >= 0 for id in ids)


def test_calls_beyond_the_most_are_left_out() -> None:
    text = f"<tool_call>{LOOK_JSON}</tool_call><tool_call>{ADD_JSON}</tool_call>"
    assert told(manner("hermes", most=1), text) == said("", LOOK)


def test_thoughts_are_told_apart_from_the_answer() -> None:
    assert told(manner(reasoning="think"), "\n<think>\nHm, a < b.\n</think>\n\nYes </think>") == said(
        "Yes </think>", reasoning="Hm, a < b."
    )


def test_only_a_tag_at_the_beginning_opens_thoughts() -> None:
    assert told(manner(reasoning="think"), "Use <think>x</think>.") == said("Use <think>x</think>.")
    assert told(manner(reasoning="think"), "<thin") == said("<thin")
    assert told(manner(reasoning="think"), " ") == said(" ")


def test_thoughts_that_never_end_are_thoughts() -> None:
    assert told(manner(reasoning="think"), "<think>a </thi") == said("", reasoning="a </thi")


def test_a_call_follows_thoughts_and_none_is_read_within_them() -> None:
    text = f"<think>maybe <tool_call>{LOOK_JSON}</tool_call></think>\n\n<tool_call>{ADD_JSON}</tool_call>"
    wanted = said("", ADD, reasoning=f"maybe <tool_call>{LOOK_JSON}</tool_call>")
    assert told(manner("hermes", "think"), text) == wanted


MARKS = ["<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "<think>", "</think>"]
PIECES = ['{"name": "look", ', '"arguments": {', '"x', *'{}[],;\\"< \n', "so", "null", "é"]
WORDS = st.sampled_from([*MARKS, *PIECES, LOOK_JSON, ADD_JSON])


@given(
    st.sampled_from(["", *FORMATS]), st.sampled_from(["", "think"]), st.integers(0, 2),
    st.lists(WORDS, max_size=14).map("".join), st.lists(st.integers(0, 200), max_size=12),
)  # fmt: skip
@example("hermes", "think", 0, f"<think>a</think><tool_call>{LOOK_JSON}</tool_call>", [3, 9, 30])
def test_any_cut_of_any_text_gives_the_same_parts(form: str, tag: str, most: int, text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(places)]
    how = manner(form, tag, most)
    assert parts(how, *pieces) == parts(how, text) == parts(how, *text)


@given(st.sampled_from(["", *FORMATS]), st.text(st.sampled_from('<[{}]tool_ca"\\> \nn:'), max_size=40))
def test_text_without_calls_comes_out_as_it_went_in(form: str, text: str) -> None:
    assert told(manner(form), *text) == said(text)


@given(st.dictionaries(st.text(max_size=4), st.text(max_size=6) | st.integers() | st.lists(st.none()), max_size=3))
def test_any_arguments_come_out_as_they_went_in(arguments: dict[str, Any]) -> None:
    written = json.dumps(arguments)
    for form, text in {
        "hermes": f'<tool_call>{{"name": "add", "arguments": {written}}}</tool_call>',
        "llama3": f'{{"name": "add", "parameters": {written}}}',
        "mistral": f'[TOOL_CALLS][{{"name": "add", "arguments": {written}}}]',
    }.items():
        assert told(manner(form), text) == said("", ("add", written))


@pytest.mark.parametrize("half", ["\\ud800", "\\udc00 {}", "{\\ud83d}"])
@pytest.mark.parametrize(("tools", "mark"), [("hermes", "<tool_call>"), ("json", ""), ("mistral", "[TOOL_CALLS]")])
def test_half_a_surrogate_pair_is_no_argument_but_what_the_model_wrote(tools: str, mark: str, half: str) -> None:
    text = mark + '{"name": "look", "arguments": "' + half + '"}'
    assert told(manner(tools), text) == said(text)


def test_a_whole_surrogate_pair_is_a_letter() -> None:
    text = '<tool_call>{"name": "look", "arguments": "{\\"at\\": \\"\\ud83d\\ude00\\"}"}</tool_call>'
    assert told(manner("hermes"), text) == said("", ("look", '{"at": "😀"}'))


class Uncopied(str):
    """A text that nothing is added to."""

    def __add__(self, other: str) -> str:
        raise AssertionError("what there is is copied for each delta")


@pytest.mark.parametrize("kind", [ContentDelta, ReasoningDelta, lambda text: ToolArguments(0, text)])
def test_deltas_are_joined_in_one_go(kind: Any) -> None:
    assert joined([kind(Uncopied(letter)) for letter in "abc"]) == [kind("abc")]


def test_a_run_of_spaces_before_what_is_no_call_is_content() -> None:
    text = "a" + " " * 50 + "<tool_call" + " " * 3 + "<tool_call>no"
    assert told(manner("hermes"), *text) == told(manner("hermes"), text) == said(text)
