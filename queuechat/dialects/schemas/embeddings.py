"""POST /v1/embeddings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from queuechat.dialects.schemas.base import Body, TokenId
from queuechat.dialects.schemas.refusals import EMBEDDINGS

MAX_INPUTS = 2048

Text = Annotated[str, Field(min_length=1)]
Ids = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]


class EmbeddingRequest(Body):
    """An input may be a string, a list of strings, token ids, or a list of lists of token ids."""

    refused: ClassVar = EMBEDDINGS

    input: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)]
        | Ids
        | Annotated[list[Ids], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=1 << 20)] | None = Field(
        None, description="keep the first so many and renormalise"
    )

    @property
    def inputs(self) -> list[str | list[int]]:
        if isinstance(self.input, str):
            return [self.input]
        if isinstance(self.input[0], int):
            return [self.input]
        return self.input  # type: ignore[return-value]
