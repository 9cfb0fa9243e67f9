"""Grammars before they are compiled: limits, and their translation."""

from __future__ import annotations

import json

import pytest

from queuechat.errors import InvalidRequest
from queuechat.protocol import Grammar
from workers.text.grammar import MAX_BYTES, check_grammar, lark_of

DEEP = '{"items":' * 40 + "{}" + "}" * 40


@pytest.mark.parametrize(
    ("grammar", "says"),
    [
        (Grammar("json_schema", '"' + "x" * MAX_BYTES + '"'), "bytes"),
        (Grammar("json_schema", DEEP), "deep"),
        (Grammar("json_schema", "[1]"), "object"),
        (Grammar("json_schema", "{"), "no JSON"),
        (Grammar("choice", '["a", 1]'), "strings"),
        (Grammar("choice", json.dumps(["a"] * 1025)), "1024"),
        (Grammar("regex", ""), "empty"),
        (Grammar("prolog", "x"), "prolog"),  # type: ignore[arg-type]
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_grammar_of_its_kind_is_refused_by_name(grammar: Grammar, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        check_grammar(grammar)
    assert caught.value.param == "response_format"


def test_a_schema_cannot_ask_for_being_ignored() -> None:
    lark = lark_of(Grammar("json_schema", '{"x-guidance": {"lenient": true}, "not": {}}'))
    assert json.loads(lark.removeprefix("start: %json "))["x-guidance"]["lenient"] is False


@pytest.mark.parametrize(
    ("grammar", "texts", "others"),
    [
        (Grammar("regex", r"a/b\/[/]c"), ["a/b//c"], ["a/b"]),
        (Grammar("regex", "a\nb"), ["a\nb"], ["ab"]),
        (Grammar("choice", json.dumps(['"\\/\n\t', "日本", "\u0001"])), ['"\\/\n\t', "日本", "\u0001"], ["日", "n"]),
        (Grammar("json_schema", "true"), ["[1]", '{"a": null}'], ["[1"]),
        (Grammar("json_object"), ['{\n  "a": []\n}'], ["[]", "{"]),
    ],
    ids=["slashes", "newline", "choice", "anything", "object"],
)
def test_the_translation_allows_the_same(grammar: Grammar, texts: list[str], others: list[str]) -> None:
    pytest.importorskip("llguidance")
    from workers.engines.matching import ByteMatcher

    for text in (*texts, *others):
        matcher = ByteMatcher(grammar)
        assert (matcher.follow([text.encode()]) and matcher.may_end) is (text in texts)


def test_json_without_space_to_choose_has_none() -> None:
    matching = pytest.importorskip("workers.engines.matching", exc_type=ImportError)
    llguidance = pytest.importorskip("llguidance")
    grammar = Grammar("json_schema", '{"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}')
    lark = Grammar("lark", lark_of(grammar, compact=True))
    for text, good in ((b"[1,2]", True), (b"[1, 2]", False), (b"[ 1,2]", False)):
        matcher = matching.compiled(llguidance.LLTokenizer("byte"), lark)
        assert bool(matcher.consume_tokens(list(text))) is good
