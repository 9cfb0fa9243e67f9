"""The messages of a chat, as templates take them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from queuechat.dialects.schemas.base import MAX_PARTS

MAX_CALLS = 128  #: of one message


class TextPart(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["text"]
    text: str


class ImageURL(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    url: Annotated[str, Field(min_length=1)] = Field(description="data: URL, or https:// of a host that is allowed")
    detail: Literal["auto", "low", "high"] | None = Field(None, description="no effect: the model's processor decides")


class ImagePart(BaseModel):
    """An image; some clients send its URL alone."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["image_url"]
    image_url: Annotated[str, Field(min_length=1)] | ImageURL

    @property
    def url(self) -> str:
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url

    @property
    def detail(self) -> str:
        asked = None if isinstance(self.image_url, str) else self.image_url.detail
        return asked or "auto"


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class CalledFunction(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=128)]
    arguments: str = Field(description="JSON, as the model wrote it")


class ToolCall(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(BaseModel):
    """`tool` messages answer a call of the assistant; `function` ones do so in OpenAI's older form."""

    model_config = ConfigDict(strict=True, extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[Part], Field(max_length=MAX_PARTS, fail_fast=True)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MAX_CALLS, fail_fast=True)] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = Field(None, description="older form of tool_calls")
    reasoning_content: str | None = Field(None, description="thoughts, for templates that repeat them")
    reasoning: str | None = Field(None, description="the same by its other name")

    @model_validator(mode="after")
    def _is_whole(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise ValueError("have a `content` that is a string or a list of text parts")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("have the `tool_call_id` of the call that it answers")
        if self.role == "function" and not self.name:
            raise ValueError("have the `name` of the function that it answers for")
        if self.role != "user" and self.images:
            raise ValueError("be of role user to have images")
        if self.role != "assistant" and (self.tool_calls or self.function_call):
            raise ValueError("be of role assistant to have calls of tools")
        return self

    @property
    def images(self) -> list[tuple[int, ImagePart]]:
        """Its images, each with its place among the parts."""
        parts = self.content if isinstance(self.content, list) else []
        return [(place, part) for place, part in enumerate(parts) if isinstance(part, ImagePart)]

    def turn(self) -> dict[str, Any]:
        """For chat templates: of an image they are told that there is one."""
        parts = self.content
        content = [_told(part) for part in parts] if isinstance(parts, list) else parts
        turn: dict[str, Any] = {"role": self.role, "content": content}
        if self.role == "function":
            turn |= {"role": "tool", "tool_call_id": f"call_{self.name}"}
        elif self.role == "tool":
            turn["tool_call_id"] = self.tool_call_id
        if self.role == "assistant":
            turn |= self._spoken()
        return turn if self.name is None else turn | {"name": self.name}

    def _spoken(self) -> dict[str, Any]:
        calls = [call.model_dump() for call in self.tool_calls or []]
        if self.function_call:
            called = self.function_call
            calls.append({"id": f"call_{called.name}", "type": "function", "function": called.model_dump()})
        thoughts = self.reasoning_content or self.reasoning
        return ({"tool_calls": calls} if calls else {}) | ({"reasoning_content": thoughts} if thoughts else {})


def _told(part: TextPart | ImagePart) -> dict[str, Any]:
    return part.model_dump() if isinstance(part, TextPart) else {"type": "image"}
