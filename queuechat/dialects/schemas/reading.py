"""POST /tokenize, /detokenize (vLLM's shapes) and /api/v1/token_check (FastChat's)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from queuechat.dialects.schemas.base import Body, TokenId
from queuechat.dialects.schemas.chat import MAX_MESSAGES, ChatRequest
from queuechat.dialects.schemas.messages import Message
from queuechat.dialects.schemas.refusals import TOKENIZE
from queuechat.errors import InvalidRequest

MAX_IDS = 1 << 20
MAX_CHECKS = 128


class TokenizeRequest(ChatRequest):
    """A `prompt`, or the `messages` of a chat: then every field of a chat may be there, and counts as it would."""

    refused: ClassVar = TOKENIZE

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)] | None = None  # type: ignore[assignment]
    prompt: str | None = None
    add_special_tokens: bool | None = Field(None, description="of a prompt, true when left out; a chat has its own")
    add_generation_prompt: bool | None = Field(None, description="of a chat, true when left out")
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _is_one(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise InvalidRequest("there must be either a `prompt` or `messages`", param="prompt")
        if self.messages is not None and self.add_special_tokens:
            raise InvalidRequest(
                "`add_special_tokens` must be left out of a chat: its template sets them", param="add_special_tokens"
            )
        return self


class DetokenizeRequest(Body):
    tokens: Annotated[list[TokenId], Field(max_length=MAX_IDS, fail_fast=True)]


class Check(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())

    model: str = Field(min_length=1, max_length=256)
    prompt: str
    max_tokens: Annotated[int, Field(ge=0, le=1 << 31)] = 0


class TokenCheckRequest(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    prompts: Annotated[list[Check], Field(min_length=1, max_length=MAX_CHECKS, fail_fast=True)]
