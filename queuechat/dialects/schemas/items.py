"""The items of a response's input: messages, calls and their results, thoughts, and references to any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from queuechat.dialects.schemas.base import MAX_PARTS
from queuechat.errors import UnsupportedParameter

_TEXTS = ("input_text", "output_text", "text")

Id = Annotated[str, Field(min_length=1, max_length=256)]


class _Plain(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    def normal(self, id: str) -> dict[str, Any]:
        """The item as it is stored and listed; `id` is for one that has none."""
        raise NotImplementedError


class TextContent(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["input_text", "output_text", "text"]
    text: str


class ImageContent(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["input_image"]
    image_url: Annotated[str, Field(min_length=1)] = Field(
        description="data: URL, or https:// of a host that is allowed"
    )
    detail: Literal["auto", "low", "high"] | None = Field(None, description="no effect: the model's processor decides")


class RefusalContent(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["refusal"]
    refusal: str


_Part = TextContent | ImageContent | RefusalContent


class ThoughtContent(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["reasoning_text", "text"]
    text: str


class MessageItem(_Plain):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: (
        str
        | Annotated[
            list[Annotated[TextContent | ImageContent | RefusalContent, Field(discriminator="type")]],
            Field(max_length=MAX_PARTS, fail_fast=True),
        ]
    )
    id: Id | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        parts = self.content if isinstance(self.content, list) else []
        if self.role != "user" and any(isinstance(part, ImageContent) for part in parts):
            raise ValueError("be of role user to have images")
        return self

    def normal(self, id: str) -> dict[str, Any]:
        parts: Sequence[_Part] = (
            [TextContent(type="text", text=self.content)] if isinstance(self.content, str) else self.content
        )
        spoken = self.role == "assistant"
        content = [_part(part, spoken=spoken) for part in parts]
        head = {"id": self.id or id, "type": "message", "role": self.role}
        return {**head, "status": "completed", "content": content}


class CallItem(_Plain):
    type: Literal["function_call"]
    call_id: Id
    name: Annotated[str, Field(min_length=1, max_length=128)]
    arguments: str
    id: Id | None = None

    def normal(self, id: str) -> dict[str, Any]:
        return {"id": self.id or id, **self.model_dump(exclude={"id"}), "status": "completed"}


class ResultItem(_Plain):
    """What a call gave."""

    type: Literal["function_call_output"]
    call_id: Id
    output: str | Annotated[list[TextContent], Field(max_length=MAX_PARTS, fail_fast=True)]
    id: Id | None = None

    def normal(self, id: str) -> dict[str, Any]:
        return {"id": self.id or id, **self.model_dump(exclude={"id"}), "status": "completed"}


class ThoughtItem(_Plain):
    """Thoughts given back. Encrypted ones cannot be ours, and summaries are not what a template repeats."""

    type: Literal["reasoning"]
    content: Annotated[list[ThoughtContent], Field(max_length=MAX_PARTS, fail_fast=True)] | None = None
    summary: Annotated[list[dict[str, Any]], Field(max_length=MAX_PARTS, fail_fast=True)] | None = None
    encrypted_content: str | None = None
    id: Id | None = None

    def normal(self, id: str) -> dict[str, Any]:
        content = [part.model_dump() for part in self.content or []]
        head = {"id": self.id or id, "type": "reasoning", "summary": self.summary or []}
        return {**head, "content": content, "encrypted_content": None}


class ReferenceItem(_Plain):
    """An item of a stored response."""

    type: Literal["item_reference"] | None = None
    id: Id

    def normal(self, id: str) -> dict[str, Any]:
        return {"type": "item_reference", "id": self.id}


def _kind(item: Any) -> str:
    told = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
    if told is None:
        return "item_reference" if isinstance(item, dict) and "id" in item and "role" not in item else "message"
    return str(told)


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[ResultItem, Tag("function_call_output")]
    | Annotated[ThoughtItem, Tag("reasoning")]
    | Annotated[ReferenceItem, Tag("item_reference")],
    Discriminator(_kind),
]
_KINDS = ("message", "function_call", "function_call_output", "reasoning", "item_reference")


def refuse_kinds(items: Sequence[Any]) -> None:
    """Raises UnsupportedParameter for the first item, or part of a message, of a type that is not supported."""
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            continue
        _check(_kind(item), _KINDS, f"input[{index}].type")
        for name in ("content", "output"):
            parts = item.get(name)
            allowed = ("reasoning_text", "input_image", *_TEXTS) if name == "content" else _TEXTS
            for k, part in enumerate(parts if isinstance(parts, list) else []):
                if isinstance(part, dict) and isinstance(part.get("type"), str):
                    _check(part["type"], ("refusal", *allowed), f"input[{index}].{name}[{k}].type")


def _check(kind: str, known: Sequence[str], where: str) -> None:
    if kind not in known:
        raise UnsupportedParameter(f"`{where}` is {kind[:40]!r}; there is only {', '.join(known)} here", param=where)


def _part(part: _Part, *, spoken: bool) -> dict[str, Any]:
    if isinstance(part, RefusalContent):
        return part.model_dump()
    if isinstance(part, ImageContent):
        return {"type": "input_image", "image_url": part.image_url, "detail": part.detail or "auto", "file_id": None}
    if spoken:
        return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": part.text}
