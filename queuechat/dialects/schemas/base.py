"""What the request bodies of all generating endpoints share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from queuechat.dialects.schemas.refusals import HINTS
from queuechat.protocol import Sampling

MAX_CHOICES = 8
_MAX_TOKENS = 1 << 31

StopString = Annotated[str, Field(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
Tokens = Annotated[int, Field(ge=1, le=_MAX_TOKENS)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
MAX_PARTS = 1024  #: of one message, and what else is a list of parts


def at_most(count: int) -> BeforeValidator:
    """That an object has no more entries, checked before they are: a wrong one each would be told one by one."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > count:
            raise ValueError(f"have at most {count} entries")
        return value

    return BeforeValidator(check)


Neutral = Callable[[Any], bool]
T = TypeVar("T")


class Body(BaseModel):
    """A body: strict types, no infinities; unknown fields are kept, to be named in a header."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, protected_namespaces=())
    refused: ClassVar[Mapping[str, Neutral]] = {}

    model: str = Field(min_length=1, max_length=256, description="name or alias of a model: GET /v1/models")
    user: str | None = None

    @property
    def ignored(self) -> list[str]:
        """Fields that were sent and mean nothing here."""
        extra = self.model_extra or {}
        unknown = [name for name in extra if name not in HINTS and name not in self.refused]
        return [name for name in unknown if name != "store" or extra[name]]  # not to store is what happens anyway


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    include_usage: bool | None = None


class Generation(Body):
    """A body that asks for tokens. null means the default everywhere."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: Tokens | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=16, fail_fast=True)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1 << 31)] | None = Field(None, description="-1 and 0 switch it off")
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: (
        Annotated[
            dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]],
            at_most(300),
        ]
        | None
    ) = Field(None, description="token id (as a string) to a bias of its logit")
    ignore_eos: bool | None = None

    @property
    def ignored(self) -> list[str]:
        """Fields that were sent and mean nothing here, those of `stream_options` included."""
        options = (self.stream_options.model_extra or {}) if self.stream_options else {}
        return [*super().ignored, *(f"stream_options.{name}" for name in options)]

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def given(self) -> list[str]:
        """The fields of the sampling that were set."""
        return [field.name for field in fields(Sampling) if getattr(self, field.name, None) is not None]

    def sampling(self, seed: int) -> Sampling:
        """How tokens are drawn, `seed` where the user gave none."""
        return Sampling(
            temperature=_or(self.temperature, 1.0),
            top_p=_or(self.top_p, 1.0),
            top_k=max(_or(self.top_k, 0), 0),
            min_p=_or(self.min_p, 0.0),
            repetition_penalty=_or(self.repetition_penalty, 1.0),
            presence_penalty=_or(self.presence_penalty, 0.0),
            frequency_penalty=_or(self.frequency_penalty, 0.0),
            logit_bias={int(token): float(bias) for token, bias in (self.logit_bias or {}).items()},
            seed=_or(self.seed, seed),
        )


def tier_given(asked: str | None) -> str | None:
    """What is given of the service tier that was asked for: nothing goes before others here."""
    return asked and ("flex" if asked == "flex" else "default")


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
