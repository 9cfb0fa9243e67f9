"""Chat messages to the one text that a model was trained on, by the Jinja template it ships with.

What templates may rely on is what Hugging Face gives them in `transformers.utils.chat_template_utils`. A template is
part of a downloaded model, so it runs in Jinja's sandbox and what it does wrong never ends the worker.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from queuechat.errors import InvalidRequest, Misconfigured

MAX_OUTPUT = 16 * 1024 * 1024  #: characters; more than any context holds
NO_TEMPLATE = (
    "this model has no chat template: start its worker with --chat-template FILE|NAME, or send a plain prompt to "
    "/v1/completions"
)

_PROBE = "a text that no template has"
_RESERVED = frozenset({"messages", "special_tokens"})


def render(
    template: str | None,
    messages: list[dict[str, Any]],
    /,
    *,
    special_tokens: dict[str, str],
    add_generation_prompt: bool = True,
    **template_args: Any,
) -> str:
    """The prompt text. It already holds its BOS where the model has one: encode it with `add_special=False`.

    Raises:
        InvalidRequest: there is no template, or it refuses these messages (`param` is "messages").
        Misconfigured: the template is not valid Jinja.
    """
    if template is None:
        raise InvalidRequest(NO_TEMPLATE, param="messages")
    if taken := _RESERVED & template_args.keys():
        raise InvalidRequest(f"a template argument cannot be called {min(taken)!r}", param=min(taken))
    made = compiled(template)
    knows_developers = "developer" in template
    wants_parts = _wants_parts(template)
    given = {
        "tools": None,
        "documents": None,
        **special_tokens,
        **template_args,
        "messages": [
            _normal(message, knows_developers=knows_developers, wants_parts=wants_parts) for message in messages
        ],
        "add_generation_prompt": add_generation_prompt,
    }
    try:
        return _bounded(made.generate(given))
    except InvalidRequest:
        raise
    except Exception as error:  # a template may run into anything: TypeError, RecursionError, ZeroDivisionError...
        raise InvalidRequest(f"the chat template refuses these messages: {error}", param="messages") from error


def variables(template: str) -> frozenset[str]:
    """Names that the template looks up and does not set: what it can be told.

    Raises:
        Misconfigured: it is not valid Jinja.
    """
    compiled(template)
    return frozenset(meta.find_undeclared_variables(_environment().parse(template)))


@lru_cache(maxsize=32)
def _wants_parts(template: str) -> bool:
    """Whether it writes a text that comes as a list of parts, and loses one that comes as a string, as those of many
    vision models do."""
    return not _writes(template, _PROBE) and _writes(template, [{"type": "text", "text": _PROBE}])


def _writes(template: str, content: object) -> bool:
    given = {"messages": [{"role": "user", "content": content}], "add_generation_prompt": True, "tools": None}
    try:
        return _PROBE in _bounded(compiled(template).generate(given))
    except Exception:  # as in `render`
        return False


def _normal(message: dict[str, Any], *, knows_developers: bool, wants_parts: bool) -> dict[str, Any]:
    """A message as templates expect it: text as a string or as parts, tool arguments parsed, and `developer` as
    `system` where it is not known."""
    normal = dict(message)
    if normal.get("role") == "developer" and not knows_developers:
        normal["role"] = "system"
    parts = normal.get("content")
    if wants_parts:
        normal["content"] = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts or []
    elif isinstance(parts, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in parts):
        normal["content"] = "\n".join(str(part.get("text", "")) for part in parts)
    if calls := normal.get("tool_calls"):
        normal["tool_calls"] = [_parsed_call(call) for call in calls]
    return normal


def _parsed_call(call: Any) -> Any:
    """OpenAI sends arguments as a JSON string; templates write them with `tojson`, which would quote it again."""
    try:
        arguments = json.loads(call["function"]["arguments"])
    except (TypeError, KeyError, ValueError):
        return call
    return {**call, "function": {**call["function"], "arguments": arguments}}


def _bounded(pieces: Iterable[str]) -> str:
    taken, size = [], 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece)
        if size > MAX_OUTPUT:
            raise InvalidRequest(f"the chat template wrote over {MAX_OUTPUT} characters", param="messages")
    return "".join(taken)


class _Generation(Extension):
    """`{% generation %}` marks the assistant's tokens for training; here its body just passes through."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own attribute)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


@lru_cache(maxsize=32)
def compiled(template: str) -> jinja2.Template:
    """Raises Misconfigured, with the line, for what is not valid Jinja."""
    try:
        return _environment().from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise Misconfigured(f"the chat template is not valid Jinja (line {error.lineno}): {error.message}") from error


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes for HTML, which a model has never seen."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
