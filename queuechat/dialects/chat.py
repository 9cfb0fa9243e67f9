"""Chat completions: the order that a body places."""

from __future__ import annotations

from typing import Any

import orjson

from queuechat.client import with_choices
from queuechat.dialects.message import Showing
from queuechat.dialects.order import Order, Slip
from queuechat.dialects.pictures import images_of, unheeded
from queuechat.dialects.schemas import ChatRequest
from queuechat.dialects.schemas.tools import calls_schema, either
from queuechat.dialects.speech import Manner
from queuechat.errors import InvalidRequest, UnsupportedParameter
from queuechat.protocol import Grammar, Job, ModelCard, choice_id

_OF_JSON = ("json_schema", "json_object")


def order_of(body: ChatRequest, slip: Slip, idem: tuple[str, str] | None = None) -> Order:
    """Raises UnsupportedParameter for what the model cannot: call tools, be made to, keep to a form, tell logprobs or
    see; InvalidImage for what is no image."""
    if body.logprobs and not slip.card.logprobs:
        raise UnsupportedParameter(f"the model {body.model!r} tells no logprobs: leave them out", param="logprobs")
    grammar = _grammar(body, slip.card)
    first = Job(
        id=slip.id,
        model=slip.model,
        messages=body.turns(),
        sampling=body.sampling(slip.seed),
        max_tokens=body.limit,
        stop=body.stops,
        ignore_eos=bool(body.ignore_eos),
        template_args=_template_args(body, slip.card, grammar),
        tools=[{"type": "function", "function": function.told()} for function in body.offered],
        lane=slip.lane,
        tenant=slip.tenant,
        deadline_s=slip.deadline_s,
        logprobs=body.alternatives,
        grammar=grammar,
        images=images_of(body, slip),
    )
    return Order(
        jobs=with_choices(first, body.choices, [choice_id(slip.id, k) for k in range(body.choices)]),
        name=body.model,
        siblings=body.choices,
        include_usage=body.include_usage,
        ignored=[*body.ignored, *_unheld(body, grammar), *unheeded(body)],
        idem=idem,
        manner=_manner(body, slip.card, grammar),
        showing=Showing(slip.reasoning_field, body.legacy, bool(body.logprobs)),
    )


def _manner(body: ChatRequest, card: ModelCard, grammar: Grammar | None) -> Manner:
    """A grammar begins with the first token: it leaves no room for thoughts, nor for the model's own way to call."""
    names = frozenset(function.name for function in body.offered)
    tools = ("json" if grammar else card.tool_format) if names else ""
    return Manner(tools, names, body.most, "" if grammar else card.reasoning)


def _template_args(body: ChatRequest, card: ModelCard, grammar: Grammar | None) -> dict[str, Any]:
    calm = {"enable_thinking": False} if grammar and card.reasoning else {}
    return body.effort | calm | (body.chat_template_kwargs or {})


def _unheld(body: ChatRequest, grammar: Grammar | None) -> list[str]:
    """A tool may ask that its schema be kept, which only a grammar can see to."""
    strict = grammar is None and any(function.strict for function in body.offered)
    return ["tools.strict"] if strict else []


def _grammar(body: ChatRequest, card: ModelCard) -> Grammar | None:
    """What the answer is held to: its form, a list of calls, or either of them."""
    offered, asked = body.offered, body.grammar
    if asked and asked.kind not in card.grammars:
        raise UnsupportedParameter(
            f"the engine of the model {body.model!r} cannot hold an answer to a {asked.kind}: leave "
            f"`{body.constraint}` out, or pick another model",
            param=body.constraint,
        )
    if not offered:
        return asked
    if not card.tool_format:
        raise UnsupportedParameter(
            f"the model {body.model!r} calls no tools, as far as its chat template tells: leave them out, pick another "
            "model, or start its worker with --tool-format",
            param="functions" if body.legacy else "tools",
        )
    if body.forced:
        return _forced(body, card)
    if asked is None:
        return None
    if asked.kind not in _OF_JSON:
        raise InvalidRequest(
            f"`{body.constraint}` must be JSON or be left out where there are tools", param=body.constraint
        )
    schema = either(_loaded(asked, body.constraint), calls_schema(offered, body.most))
    return Grammar("json_schema", orjson.dumps(schema).decode())


def _forced(body: ChatRequest, card: ModelCard) -> Grammar:
    param = "function_call" if body.legacy else "tool_choice"
    if body.grammar:
        raise InvalidRequest(f"`{body.constraint}` must be left out where a tool must be called", param=body.constraint)
    if "json_schema" not in card.grammars:
        raise UnsupportedParameter(
            f"the engine of the model {body.model!r} cannot be held to a JSON Schema, so that a call cannot be forced: "
            f"leave `{param}` out",
            param=param,
        )
    return Grammar("json_schema", orjson.dumps(calls_schema(body.offered, body.most)).decode())


def _loaded(asked: Grammar, param: str) -> dict[str, Any]:
    try:
        schema = orjson.loads(asked.text or b'{"type":"object"}')
    except orjson.JSONDecodeError:
        schema = None
    if not isinstance(schema, dict):
        raise InvalidRequest(f"`{param}` must be a JSON Schema that is an object", param=param)
    return schema
