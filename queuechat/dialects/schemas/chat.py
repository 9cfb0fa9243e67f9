"""POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from queuechat.dialects.schemas.base import Generation, Tokens, tier_given
from queuechat.dialects.schemas.constraints import Constraints
from queuechat.dialects.schemas.messages import ImagePart, Message
from queuechat.dialects.schemas.refusals import CHAT, refuse_reserved
from queuechat.dialects.schemas.tools import Toolbox
from queuechat.errors import InvalidRequest
from queuechat.protocol import MAX_LOGPROBS

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
MAX_MESSAGES = 512
_NO_THOUGHTS = ("none", "minimal")


class ChatRequest(Toolbox, Constraints, Generation):
    """OpenAI's fields, and of vLLM's extras those that any engine can honour."""

    model_config = Generation.model_config
    refused: ClassVar = CHAT

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]
    max_completion_tokens: Tokens | None = Field(None, description="wins over max_tokens")
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: Effort | None = Field(
        None, description="none and minimal switch thinking off where the chat template can; a grammar does so, too"
    )
    service_tier: Literal["auto", "default", "flex", "priority", "scale"] | None = Field(
        None, description="flex waits until there is room to spare, as batches do; the others are one"
    )
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None

    @model_validator(mode="after")
    def _sets_nothing_of_ours(self) -> ChatRequest:
        refuse_reserved(self.chat_template_kwargs or {})
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("`top_logprobs` must come with `logprobs`: true", param="top_logprobs")
        return self

    @property
    def tier(self) -> str | None:
        return tier_given(self.service_tier)

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many tokens are told beside each one; None for no log probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def effort(self) -> dict[str, Any]:
        """What `reasoning_effort` says to a template."""
        return effort_args(self.reasoning_effort)

    def pictures(self) -> list[tuple[str, ImagePart]]:
        """Its images in order, each with its path in the body."""
        return [
            (f"messages[{turn}].content[{place}]", part)
            for turn, message in enumerate(self.messages or [])  # a body that is only tokenized may have none
            for place, part in message.images
        ]

    def turns(self) -> list[dict[str, Any]]:
        """The messages for the worker's template."""
        return [message.turn() for message in self.messages]


def effort_args(effort: Effort | None) -> dict[str, Any]:
    """What an effort says to a template."""
    return {} if effort is None else {"reasoning_effort": effort, "enable_thinking": effort not in _NO_THOUGHTS}
