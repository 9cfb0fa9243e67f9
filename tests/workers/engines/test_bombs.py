"""Grammars made to keep a worker busy for ever: each is refused, or compiled like any other."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from llguidance import LLTokenizer

from queuechat.errors import InvalidRequest
from queuechat.protocol import Grammar
from workers.engines.matching import ByteMatcher
from workers.engines.trial import trials
from workers.text.grammar import check_grammar


def _schema(schema: Any) -> Grammar:
    return Grammar("json_schema", orjson.dumps(schema).decode())


def _use(grammar: Grammar) -> None:
    check_grammar(grammar)
    trials().check(grammar, any_space=True)
    ByteMatcher(grammar)


def _doubled(name: str, most: int) -> str:
    """Rules of Lark that grow twofold with each."""
    return "\n".join([f"start: {name}{most}", *(f"{name}{k}: {name}{k - 1} {name}{k - 1}" for k in range(1, most + 1))])


TWICE = {
    f"a{k}": {"type": "object", "properties": {side: {"$ref": f"#/$defs/a{k - 1}"} for side in "lr"}}
    for k in range(1, 25)
} | {"a0": {"type": "string"}}

LETTERS = "abcdefghijklmnopqrst"
BOMB = _schema({"properties": {"a": {"allOf": [{"type": "string", "pattern": f".*{c}.{{5}}.*"} for c in LETTERS]}}})

HIDDEN = Grammar("lark", f"start: <|end|> <[700]> %json {BOMB.text}")  # behind what only its own vocabulary knows

REFUSED: dict[str, Grammar] = {
    "patterns against patterns": _schema({"patternProperties": {f"^(a|b)*{k}(a|b){{20}}$": {} for k in range(300)}}),
    "patterns in many places": _schema({"anyOf": [{"patternProperties": {f"^{k}": {}}} for k in range(65)]}),
    "a schema that is itself": _schema({"allOf": [{"$ref": "#"}, {"type": "object"}]}),
    "a multiple of a large prime": _schema({"type": "integer", "multipleOf": 999_999_937, "minimum": 0}),
    "patterns that must all hold": BOMB,
    "a schema of 65 KB": _schema({"enum": ["x" * 66_000]}),
    "a regex of many alternatives": Grammar("regex", "(a|b|ab)*" * 5000),
    "a regex in thousands of brackets": Grammar("regex", "(" * 30_000 + "a" + ")" * 30_000),
    "Lark in thousands of brackets": Grammar("lark", "start: " + "(" * 20_000 + '"a"' + ")" * 20_000),
    "a token of Lark of millions of letters": Grammar("lark", _doubled("A", 24) + '\nA0: "x"\n'),
}

USED: dict[str, Grammar] = {
    "references that double": _schema({"$ref": "#/$defs/a24", "$defs": TWICE}),
    "seven thousand values": _schema({"enum": [f"v{k}" for k in range(7000)]}),
    "a thousand properties": _schema({"properties": {f"p{k}": {"type": "integer"} for k in range(1000)}}),
    "a pattern that backtracks": _schema({"type": "string", "pattern": "^(a+)+$"}),
    "counts of counts": Grammar("regex", "(a{1,1000}){1,1000}"),
    "rules that double": Grammar("lark", _doubled("a", 24) + '\na0: "x"\n'),
    "a rule that is twice itself": Grammar("lark", 'start: start start | "x" |\n'),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_bomb_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        _use(REFUSED[name])
    assert refused.value.param == "response_format"
    assert len(refused.value.message) < 1000


@pytest.mark.parametrize("name", list(USED))
def test_what_looks_like_a_bomb_and_is_none_is_used(name: str) -> None:
    _use(USED[name])


async def test_bombs_keep_nobody_else_from_an_answer_and_are_refused_at_once_the_next_time() -> None:
    from workers.engines.constraint import Compiler

    compiler = Compiler(LLTokenizer("byte"))
    bombs = [BOMB, HIDDEN]
    tried = await asyncio.gather(*(compiler.matcher(bomb) for bomb in bombs), return_exceptions=True)
    assert ["takes too long" in str(each) for each in tried] == [True] * 2
    assert not (await compiler.matcher(Grammar("choice", '["yes", "no"]'))).is_error()
    processes = [trier._process for trier in trials()._idle.queue]
    again = await asyncio.gather(*(compiler.matcher(bomb) for bomb in bombs), return_exceptions=True)
    assert [type(each) for each in again] == [InvalidRequest] * 2
    assert [trier._process for trier in trials()._idle.queue] == processes, "it was tried again"
    compiler.close()
