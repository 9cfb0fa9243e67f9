"""Ollama's /api/chat, /api/generate and the embedding endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from queuechat.dialects.schemas.base import MAX_PARTS, Body, Penalty, StopString
from queuechat.dialects.schemas.chat import MAX_MESSAGES
from queuechat.dialects.schemas.embeddings import MAX_INPUTS
from queuechat.dialects.schemas.messages import MAX_CALLS
from queuechat.dialects.schemas.refusals import OLLAMA_GENERATE, refuse_fields
from queuechat.dialects.schemas.tools import MAX_TOOLS
from queuechat.errors import InvalidRequest, UnsupportedParameter
from queuechat.protocol import MAX_LOGPROBS

Think = bool | Literal["low", "medium", "high", "max"]
Image = Annotated[str, Field(min_length=1, description="base64 of a PNG, JPEG, GIF or WebP")]

_ENDLESS = 0  # num_predict -1 and -2: to the end of the answer, or of the context


class _Plain(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class OllamaOptions(_Plain):
    """Those that any engine can honour; the others are kept, to be named in a header."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    num_predict: Annotated[int, Field(ge=-2, le=1 << 31)] | None = None
    seed: Annotated[int, Field(ge=-1, lt=1 << 63)] | None = Field(None, description="-1: another one each time")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1 << 31)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=16, fail_fast=True)] | None = None

    @property
    def limit(self) -> int | None:
        return self.num_predict if self.num_predict and self.num_predict > _ENDLESS else None

    def told(self) -> dict[str, Any]:
        """By the names of OpenAI's endpoints."""
        return {
            "max_tokens": self.limit,
            "seed": None if self.seed == -1 else self.seed,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "min_p": self.min_p,
            "repetition_penalty": self.repeat_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "stop": self.stop,
        }


class _Asked(Body):
    """What all bodies share."""

    options: OllamaOptions | None = None
    keep_alive: float | str | None = Field(None, description="how long a model stays loaded is its worker's business")

    @classmethod
    def refuse(cls, body: Mapping[str, Any]) -> None:
        """Raises UnsupportedParameter for what would change the answer and cannot be honoured."""
        refuse_fields(body, cls.refused)

    @property
    def ignored(self) -> list[str]:
        options = (self.options.model_extra or {}) if self.options else {}
        return [*super().ignored, *(f"options.{name}" for name in options)]


class OllamaGeneration(_Asked):
    """What chats and single prompts share."""

    stream: bool | None = Field(None, description="true unless told otherwise")
    format: Literal["", "json"] | dict[str, Any] | None = Field(None, description="json, or a JSON Schema")
    think: Think | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None

    @property
    def streams(self) -> bool:
        return self.stream is not False

    @property
    def thinks(self) -> bool:
        """Whether thoughts are asked for."""
        return self.think not in (None, False)

    @property
    def empty(self) -> bool:
        """Whether nothing is asked: Ollama loads the model then."""
        raise NotImplementedError


class OllamaFunction(_Plain):
    name: Annotated[str, Field(min_length=1, max_length=128)]
    arguments: dict[str, Any]


class OllamaCall(_Plain):
    id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    function: OllamaFunction


class OllamaTurn(_Plain):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: Annotated[list[Image], Field(max_length=MAX_PARTS, fail_fast=True)] | None = None
    tool_calls: Annotated[list[OllamaCall], Field(max_length=MAX_CALLS, fail_fast=True)] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class OllamaChatRequest(OllamaGeneration):
    """POST /api/chat."""

    messages: Annotated[list[OllamaTurn], Field(max_length=MAX_MESSAGES, fail_fast=True)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None

    @property
    def empty(self) -> bool:
        return not self.messages


class OllamaGenerateRequest(OllamaGeneration):
    """POST /api/generate: one prompt, through the chat template unless it is `raw` or has a `suffix`."""

    refused: ClassVar = OLLAMA_GENERATE

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    raw: bool | None = None
    images: Annotated[list[Image], Field(max_length=MAX_PARTS, fail_fast=True)] | None = None
    context: Annotated[list[int], Field(fail_fast=True)] | None = Field(
        None, description="not supported: /api/chat takes a whole conversation"
    )

    @model_validator(mode="after")
    def _can_be_honoured(self) -> Self:
        if self.context:
            raise UnsupportedParameter(
                "`context` is not supported; leave it out, and send what was said before to /api/chat", param="context"
            )
        if self.templated:
            return self
        named = {"system": self.system, "images": self.images, "format": self.format, "think": self.thinks}
        if odd := [name for name, value in named.items() if value]:
            plain = "raw" if self.raw else "suffix"
            raise UnsupportedParameter(f"`{odd[0]}` must be left out where there is `{plain}`", param=odd[0])
        if self.logprobs:
            raise UnsupportedParameter(
                "`logprobs` needs a prompt that is neither raw nor has a suffix", param="logprobs"
            )
        return self

    @property
    def templated(self) -> bool:
        """Whether the prompt goes through the chat template."""
        return not (self.raw or self.suffix)

    @property
    def empty(self) -> bool:
        return not (self.prompt or self.images or self.suffix)


Text = Annotated[str, Field(min_length=1)]


class OllamaEmbedRequest(_Asked):
    """POST /api/embed."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)]
    truncate: bool | None = Field(None, description="not done: an input that is too long is an error")
    dimensions: Annotated[int, Field(ge=1, le=1 << 20)] | None = None

    @property
    def ignored(self) -> list[str]:
        return [*super().ignored, *(["truncate"] if self.truncate else [])]


class OllamaEmbeddingsRequest(_Asked):
    """POST /api/embeddings: the older form, one prompt."""

    prompt: Text


class OllamaShowRequest(BaseModel):
    """POST /api/show."""

    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())

    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(None, description="older name of model")

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if not self.wanted:
            raise InvalidRequest("`model` is missing", param="model")
        return self

    @property
    def wanted(self) -> str:
        return self.model or self.name or ""
