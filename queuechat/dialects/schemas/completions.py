"""POST /v1/completions."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from queuechat.dialects.schemas.base import Generation, TokenId
from queuechat.dialects.schemas.refusals import COMPLETIONS
from queuechat.errors import InvalidRequest, UnsupportedParameter

MAX_ANSWERS = 128
DEFAULT_TOKENS = 16

Ids = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]


class CompletionRequest(Generation):
    """A prompt may be a string, a list of strings, token ids, or a list of lists of token ids."""

    refused: ClassVar = COMPLETIONS

    prompt: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, fail_fast=True)]
        | Ids
        | Annotated[list[Ids], Field(min_length=1, fail_fast=True)]
    )
    echo: bool | None = None
    best_of: int | None = Field(None, description="only the value of n")

    @model_validator(mode="after")
    def _can_be_honoured(self) -> CompletionRequest:
        if self.best_of not in (None, self.choices):
            raise UnsupportedParameter("`best_of` other than n is not supported yet; leave it out", param="best_of")
        if self.echo and not all(isinstance(prompt, str) for prompt in self.prompts):
            raise UnsupportedParameter("`echo` needs prompts that are strings, not token ids", param="echo")
        if len(self.prompts) * self.choices > MAX_ANSWERS:
            raise InvalidRequest(f"at most {MAX_ANSWERS} answers a request (prompts times n)", param="prompt")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt  # type: ignore[return-value]

    @property
    def limit(self) -> int:
        return self.max_tokens or DEFAULT_TOKENS
