"""Chat completions: the order that a body places. Other dialects of conversations place theirs through it, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from queuechat.client import with_choices
from queuechat.dialects.message import Showing
from queuechat.dialects.order import BYTES, Order, Slip
from queuechat.dialects.pictures import Pictured, images_of, unheeded
from queuechat.dialects.schemas.parse import MAX_DEPTH, deeper_than
from queuechat.dialects.schemas.tools import Function, calls_schema, either
from queuechat.dialects.speech import RELAYED, Manner
from queuechat.errors import InvalidRequest, UnsupportedParameter
from queuechat.protocol import Grammar, Job, ModelCard, Sampling, choice_id

_OF_JSON = ("json_schema", "json_object")


class Talk(Pictured, Protocol):
    """What a body asks that continues a conversation; `ChatRequest` says what each of it means."""

    ignore_eos: bool | None
    chat_template_kwargs: dict[str, Any] | None

    @property
    def legacy(self) -> bool: ...
    @property
    def limit(self) -> int | None: ...
    @property
    def stops(self) -> list[str]: ...
    @property
    def include_usage(self) -> bool: ...
    @property
    def ignored(self) -> list[str]: ...
    @property
    def effort(self) -> dict[str, Any]: ...
    @property
    def offered(self) -> Sequence[Function]: ...
    @property
    def forced(self) -> bool: ...
    @property
    def most(self) -> int: ...
    @property
    def tier(self) -> str | None: ...
    @property
    def grammar(self) -> Grammar | None: ...
    @property
    def constraint(self) -> str:
        """The name of the field that sets the grammar."""

    @property
    def alternatives(self) -> int | None: ...

    @property
    def given(self) -> list[str]: ...

    def sampling(self, seed: int) -> Sampling: ...

    def turns(self) -> list[dict[str, Any]]: ...


def order_of(body: Talk, slip: Slip, idem: tuple[str, str] | None = None) -> Order:
    """Raises UnsupportedParameter for what the model cannot: call tools, be made to, keep to a form, tell logprobs or
    see; InvalidImage for what is no image."""
    slip.refuse_encoders(body.model)
    if body.alternatives is not None and not slip.card.logprobs:
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
        tools=[{"type": "function", "function": _told(function, slip.card)} for function in body.offered],
        lane="bulk" if body.tier == "flex" else slip.lane,
        tenant=slip.tenant,
        deadline_s=slip.deadline_s,
        logprobs=body.alternatives,
        grammar=grammar,
        images=images_of(body, slip),
        **(_passed_on(body) if slip.card.relayed else {}),
    )
    return Order(
        jobs=with_choices(first, body.choices, [choice_id(slip.id, k) for k in range(body.choices)]),
        name=body.model,
        siblings=body.choices,
        include_usage=body.include_usage,
        ignored=[*body.ignored, *_unheld(body, grammar, slip.card), *unheeded(body)],
        idem=idem,
        manner=_manner(body, slip.card, grammar),
        showing=Showing(slip.reasoning_field, body.legacy, body.alternatives is not None),
        tier=body.tier,
        unit=BYTES if slip.card.relayed else 1,
    )


def _told(function: Function, card: ModelCard) -> dict[str, Any]:
    strict = {"strict": True} if card.relayed and function.strict else {}
    return function.told() | strict


def _passed_on(body: Talk) -> dict[str, Any]:
    """What a provider elsewhere is asked himself."""
    return {"given": body.given, "must_call": body.forced, "most_calls": body.most}


def _manner(body: Talk, card: ModelCard, grammar: Grammar | None) -> Manner:
    """A grammar begins with the first token: it leaves no room for thoughts, nor for the model's own way to call."""
    names = frozenset(function.name for function in body.offered)
    if card.relayed:
        return Manner(RELAYED, names, body.most)
    tools = ("json" if grammar else card.tool_format) if names else ""
    return Manner(tools, names, body.most, "" if grammar else card.reasoning)


def _template_args(body: Talk, card: ModelCard, grammar: Grammar | None) -> dict[str, Any]:
    calm = {"enable_thinking": False} if grammar and card.reasoning and not card.relayed else {}
    return body.effort | calm | (body.chat_template_kwargs or {})


def _unheld(body: Talk, grammar: Grammar | None, card: ModelCard) -> list[str]:
    """A tool may ask that its schema be kept, which only a grammar can see to, or a provider elsewhere."""
    strict = grammar is None and not card.relayed and any(function.strict for function in body.offered)
    return ["tools.strict"] if strict else []


def _grammar(body: Talk, card: ModelCard) -> Grammar | None:
    """What the answer is held to: its form, a list of calls, or either of them."""
    offered, asked = body.offered, body.grammar
    if asked and asked.kind not in card.grammars:
        raise UnsupportedParameter(
            f"the engine of the model {body.model!r} cannot hold an answer to a {asked.kind}: leave "
            f"`{body.constraint}` out, or pick another model",
            param=body.constraint,
        )
    if not offered or card.relayed:
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


def _forced(body: Talk, card: ModelCard) -> Grammar:
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
    if deeper_than(schema, MAX_DEPTH):
        raise InvalidRequest(f"`{param}` must not be nested more than {MAX_DEPTH} levels deep", param=param)
    return schema
