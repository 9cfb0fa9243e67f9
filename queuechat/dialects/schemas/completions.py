"""POST /v1/completions."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from queuechat.dialects.schemas.base import Generation, TokenId
from queuechat.dialects.schemas.refusals import COMPLETIONS
from queuechat.errors import InvalidRequest, UnsupportedParameter
from queuechat.protocol import MAX_LOGPROBS

MAX_ANSWERS = 128
DEFAULT_TOKENS = 16
MAX_BEST = 20

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
    max_tokens: Annotated[int, Field(ge=0, le=1 << 31)] | None = Field(None, description="0 only with `echo`")
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = Field(
        None, description="how many alternatives of each token are told; with `echo` of those of the prompt, too"
    )
    best_of: Annotated[int, Field(ge=1, le=MAX_BEST)] | None = Field(
        None, description="so many answers are made, and the n likeliest told"
    )
    suffix: str | None = Field(None, description="what follows the answer, for models that fill in the middle")
    add_special_tokens: bool | None = Field(None, description="such as BOS, to prompts of text; true when left out")

    @model_validator(mode="after")
    def _can_be_honoured(self) -> CompletionRequest:
        if self.made < self.choices:
            raise InvalidRequest("`best_of` must be at least `n`", param="best_of")
        if self.made > self.choices and self.stream:
            raise InvalidRequest("`best_of` must be `n` in a stream, of which nothing is known before", param="best_of")
        if self.max_tokens == 0 and not self.echo:
            raise InvalidRequest("`max_tokens` must be at least 1 without `echo`", param="max_tokens")
        if self.echo and self.suffix:
            raise InvalidRequest("`echo` must be left out where there is a `suffix`", param="echo")
        if self.echo and self.logprobs is None and not all(isinstance(prompt, str) for prompt in self.prompts):
            raise UnsupportedParameter("`echo` of token ids needs `logprobs`, which tell their text", param="echo")
        if len(self.prompts) * self.made > MAX_ANSWERS:
            raise InvalidRequest(f"at most {MAX_ANSWERS} answers a request (prompts times best_of)", param="prompt")
        return self

    @property
    def made(self) -> int:
        """How many answers each prompt gets, of which `choices` are told."""
        return self.choices if self.best_of is None else self.best_of

    @property
    def prompts(self) -> list[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt  # type: ignore[return-value]

    @property
    def limit(self) -> int:
        return DEFAULT_TOKENS if self.max_tokens is None else self.max_tokens
