"""POST /v1/batches."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from queuechat.dialects.schemas.base import at_most

Label = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=512)]

Metadata = Annotated[dict[Label, Text], at_most(16)]

_WINDOW = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S = 7 * 86400


class ExpiresAfter(BaseModel):
    """When a file expires: 1 hour to 30 days after it was made."""

    model_config = ConfigDict(strict=True, extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class BatchRequest(BaseModel):
    """OpenAI's fields; the window may be other than 24h."""

    model_config = ConfigDict(strict=True, extra="forbid")

    input_file_id: str
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
    completion_window: str = Field(description="24h, or any number of s, m, h or d up to 7d")
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None

    @field_validator("completion_window")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        found = _WINDOW.fullmatch(value)
        if not found or int(found[1]) * _UNITS[found[2]] > _LONGEST_S:
            raise ValueError('be a time such as "24h": a number of s, m, h or d, 7d at most')
        return value

    @property
    def window_s(self) -> int:
        number, unit = self.completion_window[:-1], self.completion_window[-1]
        return int(number) * _UNITS[unit]
