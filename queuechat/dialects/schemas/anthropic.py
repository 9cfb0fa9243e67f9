"""POST /v1/messages, Anthropic's form of a chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from queuechat.dialects.schemas.base import MAX_PARTS, Body, StopString, Tokens
from queuechat.dialects.schemas.refusals import ANTHROPIC, refuse_fields
from queuechat.dialects.schemas.tools import MAX_TOOLS, Name
from queuechat.errors import InvalidRequest, UnsupportedParameter

MAX_TURNS = 2048  # neighbours of the same role are one message of a chat, of which there may be fewer

Id = Annotated[str, Field(min_length=1, max_length=256)]


class _Plain(BaseModel):
    """`cache_control` and whatever else is not named here asks for no other answer."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class TextBlock(_Plain):
    type: Literal["text"]
    text: str


class Base64Source(_Plain):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Annotated[str, Field(min_length=1)]

    @property
    def address(self) -> str:
        return f"data:{self.media_type};base64,{self.data}"


class UrlSource(_Plain):
    type: Literal["url"]
    url: Annotated[str, Field(min_length=1)]

    @property
    def address(self) -> str:
        return self.url


class ImageBlock(_Plain):
    type: Literal["image"]
    source: Annotated[Base64Source | UrlSource, Field(discriminator="type")]


class ToolUseBlock(_Plain):
    type: Literal["tool_use"]
    id: Id
    name: Annotated[str, Field(min_length=1, max_length=128)]
    input: dict[str, Any]


Shown = Annotated[TextBlock | ImageBlock, Field(discriminator="type")]


class ToolResultBlock(_Plain):
    type: Literal["tool_result"]
    tool_use_id: Id
    content: str | Annotated[list[Shown], Field(max_length=MAX_PARTS, fail_fast=True)] | None = None
    is_error: bool | None = Field(None, description="the content has to say it too: templates know no such mark")

    @property
    def texts(self) -> list[TextBlock]:
        if isinstance(self.content, str):
            return [TextBlock(type="text", text=self.content)]
        return [block for block in self.content or [] if isinstance(block, TextBlock)]

    @property
    def images(self) -> list[ImageBlock]:
        blocks = self.content if isinstance(self.content, list) else []
        return [block for block in blocks if isinstance(block, ImageBlock)]


class ThinkingBlock(_Plain):
    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(_Plain):
    type: Literal["redacted_thinking"]
    data: str


Block = Annotated[
    TextBlock | ImageBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedThinkingBlock,
    Field(discriminator="type"),
]
_ALLOWED: Mapping[str, tuple[type[_Plain], ...]] = {
    "user": (TextBlock, ImageBlock, ToolResultBlock),
    "assistant": (TextBlock, ToolUseBlock, ThinkingBlock, RedactedThinkingBlock),
    "system": (TextBlock,),
}


class AnthropicTurn(_Plain):
    """One message. Neighbours of the same role are one turn."""

    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[Block], Field(max_length=MAX_PARTS, fail_fast=True)]

    @model_validator(mode="after")
    def _has_blocks_of_its_role(self) -> Self:
        if odd := [block.type for block in self.blocks if not isinstance(block, _ALLOWED[self.role])]:
            raise ValueError(f"have no block of type {odd[0]}, being of role {self.role}")
        return self

    @property
    def blocks(self) -> list[Any]:
        return [TextBlock(type="text", text=self.content)] if isinstance(self.content, str) else self.content


class ClientTool(_Plain):
    """A tool that the client runs."""

    type: Literal["custom"] | None = None
    name: Name
    description: str | None = None
    input_schema: dict[str, Any] = Field(description="JSON Schema of the arguments")
    strict: bool | None = None


class ToolChoice(_Plain):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None

    @model_validator(mode="after")
    def _names_a_tool(self) -> Self:
        if self.type == "tool" and not self.name:
            raise ValueError("have the `name` of the tool to call")
        return self


class Thinking(_Plain):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = Field(None, description="not held to")
    display: str | None = Field(None, description="not held to: thoughts are shown")


class OutputFormat(_Plain):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(_Plain):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class PromptRequest(Body):
    """What is read before an answer: also the body of a request that only counts it."""

    messages: Annotated[list[AnthropicTurn], Field(min_length=1, max_length=MAX_TURNS, fail_fast=True)]
    system: str | Annotated[list[TextBlock], Field(max_length=MAX_PARTS, fail_fast=True)] | None = None
    tools: Annotated[list[ClientTool], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None

    @classmethod
    def refuse(cls, body: Mapping[str, Any]) -> None:
        """Raises UnsupportedParameter for what would change the answer and cannot be honoured."""
        refuse_fields(body, ANTHROPIC)
        tools = body.get("tools")
        for index, tool in enumerate(tools if isinstance(tools, list) else []):
            kind = tool.get("type") if isinstance(tool, dict) else None
            if isinstance(kind, str) and kind != "custom":
                where = f"tools[{index}].type"
                raise UnsupportedParameter(
                    f"`{where}` is {kind[:40]!r}; there are only tools that the client runs, with an input_schema",
                    param=where,
                )

    @model_validator(mode="after")
    def _ends_with_the_user(self) -> Self:
        if self.messages[-1].role == "assistant":
            where = f"messages[{len(self.messages) - 1}].role"
            raise InvalidRequest(f"`{where}` must be user: an answer cannot be begun here (no prefill)", param=where)
        return self

    @property
    def ignored(self) -> list[str]:
        """Fields that were sent and mean nothing here, those of blocks included."""
        blocks = [block for turn in self.messages for block in turn.blocks]
        unused = {
            "thinking.budget_tokens": self.thinking is not None and self.thinking.budget_tokens is not None,
            "thinking.display": self.thinking is not None and self.thinking.display is not None,
            "redacted_thinking": any(isinstance(block, RedactedThinkingBlock) for block in blocks),
            "tool_result.is_error": any(isinstance(block, ToolResultBlock) and block.is_error for block in blocks),
        }
        return [*super().ignored, *(name for name, sent in unused.items() if sent)]


class MessagesRequest(PromptRequest):
    """Anthropic's fields; of `metadata` nothing is kept."""

    max_tokens: Tokens
    stream: bool | None = None
    stop_sequences: Annotated[list[StopString], Field(max_length=16, fail_fast=True)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1 << 31)] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
