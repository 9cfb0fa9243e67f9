"""Grammars before an engine compiles them: whether they are of their kind and small enough, and all as Lark.

The Lark is llguidance's, which both engines speak: transformers by the package, llama.cpp by what is built into it.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from queuechat.errors import InvalidRequest
from queuechat.protocol import Grammar

MAX_BYTES = 64 << 10
MAX_DEPTH = 32  # of JSON within JSON
MAX_CHOICES = 1024
MAX_PATTERNS = 64  # of names of properties: each is held against all others, and nothing ends that once it runs

_ESCAPE_OR_SLASH = re.compile(r"\\.|/", re.DOTALL)

#: Between the tokens of JSON: enough to indent with, but not so much that a model may go on with spaces for ever.
_SPACE = r"[ \t]{1,64}|\r?\n[ \t]{0,64}"
#: Overrides what a schema says of itself: a keyword that is not understood is an error, and oneOf is never "any of".
_STRICT = {"lenient": False, "coerce_one_of": False}


def check_grammar(grammar: Grammar) -> None:
    """Raises InvalidRequest, of `response_format`, for what is too large, too deep or not what its kind says."""
    size = len(grammar.text.encode(errors="replace"))
    if size > MAX_BYTES:
        raise _refused(f"a grammar has at most {MAX_BYTES} bytes, this one has {size}")
    if grammar.kind == "json_schema":
        schema_of(grammar)
    elif grammar.kind == "choice":
        choices_of(grammar)
    elif grammar.kind in ("regex", "lark") and not grammar.text:
        raise _refused(f"the {grammar.kind} is empty")
    elif grammar.kind not in ("regex", "lark", "json_object"):
        raise _refused(f"there is no grammar of kind {grammar.kind!r}")


def lark_of(grammar: Grammar, *, any_space: bool = False, compact: bool = False) -> str:
    """The same language in llguidance's dialect of Lark; it may still be one that llguidance cannot compile.

    `any_space` sets no bounds to the space in JSON: the llguidance in xllamacpp does not heed them. `compact` leaves
    none to choose: nor does that of vLLM heed them, and a model may go on with spaces for ever.
    """
    match grammar.kind:
        case "lark":
            return grammar.text
        case "regex":
            return f"start: /{_ESCAPE_OR_SLASH.sub(_escaped, grammar.text)}/"
        case "choice":
            return "start: " + " | ".join(orjson.dumps(choice).decode() for choice in choices_of(grammar))
        case _:
            schema = schema_of(grammar)
            if isinstance(schema, bool):
                schema = {} if schema else {"not": {}}
            space = {"whitespace_flexible": False} if compact else {"whitespace_pattern": _SPACE}
            options = _STRICT if any_space else {**_STRICT, **space}
            return "start: %json " + orjson.dumps({**schema, "x-guidance": options}).decode()


def schema_of(grammar: Grammar) -> Any:
    """The JSON Schema of a grammar of that kind; that of any object for `json_object`."""
    if grammar.kind == "json_object":
        return {"type": "object"}
    schema = _json(grammar.text)
    if not isinstance(schema, dict | bool):
        raise _refused("a JSON Schema is an object")
    if (patterns := _patterns(schema)) > MAX_PATTERNS:
        raise _refused(f"there are at most {MAX_PATTERNS} patternProperties in a schema, here are {patterns}")
    return schema


def choices_of(grammar: Grammar) -> list[str]:
    """The answers that a grammar of kind `choice` allows."""
    choices = _json(grammar.text)
    if not isinstance(choices, list) or not choices or not all(isinstance(c, str) and c for c in choices):
        raise _refused("choices are a list of strings, at least one, none of them empty")
    if len(choices) > MAX_CHOICES:
        raise _refused(f"there are at most {MAX_CHOICES} choices, here are {len(choices)}")
    return choices


def _json(text: str) -> Any:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _refused(f"the grammar is no JSON: {error}") from error
    if _depth(value) > MAX_DEPTH:
        raise _refused(f"a grammar nests at most {MAX_DEPTH} levels deep")
    return value


def _patterns(schema: Any) -> int:
    """Patterns of names of properties, in all of a schema."""
    found, level = 0, [schema]
    while level:
        named = [node["patternProperties"] for node in level if isinstance(node, dict) and "patternProperties" in node]
        found += sum(len(each) for each in named if isinstance(each, dict))
        level = [item for node in level if isinstance(node, dict | list) for item in _items(node)]
    return found


def _depth(value: Any) -> int:
    """Levels of nesting, counted without recursion: the text may nest deeper than Python calls."""
    depth, level = 0, [value]
    while level := [item for node in level if isinstance(node, dict | list) for item in _items(node)]:
        depth += 1
    return depth


def _items(node: dict[str, Any] | list[Any]) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else node


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(why, param="response_format")


def _escaped(found: re.Match[str]) -> str:
    """A slash would end a regular expression of Lark; what is escaped already stays so."""
    return r"\/" if found[0] == "/" else found[0]
