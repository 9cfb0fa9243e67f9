"""POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from queuechat.dialects.schemas.base import Generation, Tokens
from queuechat.dialects.schemas.refusals import CHAT, refuse_reserved


class TextPart(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["text"]
    text: str


class Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Message:
        if self.content is None and self.role != "assistant":
            raise ValueError("have a `content` that is a string or a list of text parts")
        return self

    def turn(self) -> dict[str, Any]:
        parts = self.content
        content = [part.model_dump() for part in parts] if isinstance(parts, list) else parts
        turn: dict[str, Any] = {"role": self.role, "content": content}
        return turn if self.name is None else turn | {"name": self.name}


class ChatRequest(Generation):
    """OpenAI's fields, and of vLLM's extras those that any engine can honour."""

    refused: ClassVar = CHAT

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: Tokens | None = Field(None, description="wins over max_tokens")
    chat_template_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _sets_nothing_of_ours(self) -> ChatRequest:
        refuse_reserved(self.chat_template_kwargs or {})
        return self

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    def turns(self) -> list[dict[str, Any]]:
        """The messages for the worker's template."""
        return [message.turn() for message in self.messages]
