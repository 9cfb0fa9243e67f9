"""POST /v1/responses."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from queuechat.dialects.schemas.base import Generation, Tokens, tier_given
from queuechat.dialects.schemas.batches import Metadata
from queuechat.dialects.schemas.chat import MAX_MESSAGES, Effort, effort_args
from queuechat.dialects.schemas.items import Item, MessageItem, ThoughtItem, refuse_kinds
from queuechat.dialects.schemas.messages import ImagePart
from queuechat.dialects.schemas.refusals import RESPONSES, refuse_reserved
from queuechat.dialects.schemas.tools import MAX_TOOLS, Function, Name, Toolbox
from queuechat.errors import InvalidRequest
from queuechat.protocol import MAX_LOGPROBS, Grammar

_LIKELY = "message.output_text.logprobs"


class _Plain(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())


class FlatTool(Function):
    """A function, as Responses write it."""

    type: Literal["function"]


class FlatNamed(_Plain):
    type: Literal["function"]
    name: Name


class FlatAllowed(_Plain):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[FlatNamed], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)]


class TextForm(_Plain):
    type: Literal["text", "json_object", "json_schema"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    description: str | None = None
    strict: bool | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if self.type == "json_schema" and (self.schema_ is None or self.name is None):
            raise ValueError("have a `name` and a `schema` where its type is json_schema")
        return self


class TextOptions(_Plain):
    format: TextForm | None = None
    verbosity: Literal["low", "medium", "high"] | None = Field(None, description="without effect here")


class Reasoning(_Plain):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = Field(None, description="thoughts come as they are")
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class EventOptions(_Plain):
    include_obfuscation: bool | None = Field(None, description="without effect here")


Includable = Literal[
    "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
    "message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
    "reasoning.encrypted_content", "message.output_text.logprobs",
]  # fmt: skip


class ResponseRequest(Generation):
    """OpenAI's fields, and of the others those that chat completions take, too."""

    refused: ClassVar = RESPONSES

    input: str | Annotated[list[Item], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = Field(
        None, description="of built-in tools, which there are none"
    )
    tools: Annotated[list[FlatTool], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FlatNamed | FlatAllowed | None = None
    parallel_tool_calls: bool | None = Field(None, description="false: at most one call an answer")
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    include: Annotated[list[Includable], Field(max_length=64, fail_fast=True)] | None = None
    store: bool | None = Field(None, description="true unless told otherwise")
    metadata: Metadata | None = None
    previous_response_id: str | None = Field(None, description="instructions of that one are not inherited")
    background: bool | None = None
    truncation: Literal["auto", "disabled"] | None = Field(None, description="auto is without effect here")
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = Field(
        None, description="flex waits until there is room to spare, as batches do; the others are one"
    )
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    stream_options: EventOptions | None = None  # type: ignore[assignment]

    _box: Toolbox = PrivateAttr()

    @field_validator("input", mode="before")
    @classmethod
    def _of_known_kinds(cls, value: Any) -> Any:
        if isinstance(value, list):
            refuse_kinds(value)
        return value

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        refuse_reserved(self.chat_template_kwargs or {})
        self._box = self._toolbox()
        if self.background and self.store is False:
            raise InvalidRequest("`store` must not be false where `background` is true", param="store")
        return self

    def _toolbox(self) -> Toolbox:
        tools = [{"type": "function", "function": tool.model_dump(exclude={"type"})} for tool in self.tools or []]
        choice: Any = self.tool_choice
        if isinstance(choice, FlatNamed):
            choice = _nested(choice)
        elif isinstance(choice, FlatAllowed):
            allowed = {"mode": choice.mode, "tools": [_nested(tool) for tool in choice.tools]}
            choice = {"type": "allowed_tools", "allowed_tools": allowed}
        return Toolbox.model_validate(
            {"tools": tools, "tool_choice": choice, "parallel_tool_calls": self.parallel_tool_calls}
        )

    legacy: ClassVar[bool] = False
    constraint: ClassVar[str] = "text.format"

    @property
    def tier(self) -> str | None:
        return tier_given(self.service_tier)

    @property
    def stored(self) -> bool:
        return self.store is not False

    @property
    def limit(self) -> int | None:
        return self.max_output_tokens

    @property
    def offered(self) -> list[Function]:
        return self._box.offered

    @property
    def forced(self) -> bool:
        return self._box.forced

    @property
    def most(self) -> int:
        return self._box.most

    @property
    def logprobs(self) -> bool:
        return _LIKELY in (self.include or []) or bool(self.top_logprobs)

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def effort(self) -> dict[str, Any]:
        return effort_args(self.reasoning.effort if self.reasoning else None)

    @property
    def grammar(self) -> Grammar | None:
        form = self.text.format if self.text else None
        if form is None or form.type == "text":
            return None
        if form.type == "json_object":
            return Grammar("json_object")
        return Grammar("json_schema", orjson.dumps(form.schema_).decode())

    @property
    def include_usage(self) -> bool:
        return True

    @property
    def ignored(self) -> list[str]:
        items = self.input if isinstance(self.input, list) else []
        encrypted = any(isinstance(item, ThoughtItem) and item.encrypted_content for item in items)
        given = {"truncation": self.truncation == "auto", "input.encrypted_content": encrypted}
        return [*super().ignored, *(name for name, sent in given.items() if sent)]

    def items(self, id: str) -> list[dict[str, Any]]:
        """The input in normal form; `id` is that of the response."""
        given = [MessageItem(role="user", content=self.input)] if isinstance(self.input, str) else self.input
        return [item.normal(f"{_PREFIXES.get(item.type or '', 'item')}_{id}_i{k}") for k, item in enumerate(given)]

    def turns(self) -> list[dict[str, Any]]:
        """None of its own: they depend on what the response goes on from."""
        return []

    def pictures(self) -> list[tuple[str, ImagePart]]:
        """The same."""
        return []


_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def _nested(tool: FlatNamed) -> dict[str, Any]:
    return {"type": "function", "function": {"name": tool.name}}
