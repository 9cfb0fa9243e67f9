"""What the engine for providers elsewhere needs to know of one of them."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol

import orjson

from queuechat.dialects.speech import Part
from queuechat.errors import InvalidRequest, UnsupportedParameter
from queuechat.protocol import Grammar, GrammarKind, Job, Sampling
from workers.engines.base import Usage

log = logging.getLogger(__name__)

_MAGIC = {"iVBORw0KGgo": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}  # how their base64 begins
_NEUTRAL = Sampling()


@dataclass(frozen=True, slots=True)
class Closing:
    """The last thing that a provider says of an answer; `stop` is the stop string that was met, where it tells that."""

    reason: Literal["stop", "length"]
    usage: Usage | None = None
    stop: str = ""


class Provider(Protocol):
    """An API of providers, at one endpoint."""

    grammars: frozenset[GrammarKind]

    def request(self, job: Job, delivered: str, limit: int | None) -> dict[str, Any]:
        """The body for a job of which `delivered` was told already, and at most `limit` tokens are wanted.

        Raises:
            UnsupportedParameter, InvalidRequest: the provider cannot do what the job asks; `param` names it.
        """

    def stream(self, request: dict[str, Any]) -> AsyncGenerator[Part | Closing, None]:
        """The answer as it comes; a `Closing` last, or the stream has broken off. What is wrong is raised as the SDK
        does."""

    async def close(self) -> None:
        """Close its connections."""


@contextmanager
def unseen(*variables: str) -> Iterator[None]:
    """What is made meanwhile does not find these variables in the environment."""
    kept = {name: os.environ.pop(name) for name in variables if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


@dataclass(slots=True)
class Ending:
    """How an answer ends, as far as it is told: it is over when there is a reason."""

    reason: str = ""
    stop: str = ""


async def until_broken(stream: AsyncIterable[Any], ending: Ending) -> AsyncGenerator[Any, None]:
    """Its events. What goes wrong after the answer is over takes nothing away from it."""
    try:
        async for event in stream:
            yield event
    except Exception as error:
        if not ending.reason:
            raise
        log.info("a stream broke off after its answer was over: %s", type(error).__name__)


def usage_of(read: object, written: object) -> Usage | None:
    """None where the provider leaves out a count."""
    return Usage(read, written) if isinstance(read, int) and isinstance(written, int) else None


def given(job: Job) -> dict[str, Any]:
    """The fields of the sampling that the request has set to something that has an effect, and what they are. What is
    not as it is anyway was set, but for the seed, which front ends draw."""
    names = {*job.given, *all_given(job.sampling)} - ({"seed"} - set(job.given))
    values = {name: getattr(job.sampling, name) for name in sorted(names)}
    harmless = {"top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias"}
    return {name: v for name, v in values.items() if name not in harmless or v != getattr(_NEUTRAL, name)}


def all_given(sampling: Sampling) -> list[str]:
    """What is not as it is anyway."""
    return [f.name for f in fields(Sampling) if f.name != "choice" and getattr(sampling, f.name) != _default(f.name)]


def _default(name: str) -> Any:
    return getattr(_NEUTRAL, name)


def seed_of(sampling: Sampling) -> int:
    """One for each choice: they are asked for one by one, and must differ."""
    return (sampling.seed + 0x9E3779B1 * sampling.choice) % (1 << 63) if sampling.choice else sampling.seed


def refuse(names: Sequence[str], params: dict[str, Any] | frozenset[str] | set[str]) -> None:
    """Raises UnsupportedParameter for the first of the names that is among the parameters of a job."""
    for name in names:
        if name in params:
            raise UnsupportedParameter(f"the provider of this model takes no `{name}`: leave it out", param=name)


def loaded(grammar: Grammar) -> Any:
    """Its JSON. Raises InvalidRequest where it is none."""
    try:
        return orjson.loads(grammar.text)
    except orjson.JSONDecodeError:
        raise InvalidRequest(f"the {grammar.kind} is not JSON", param="response_format") from None


def data_url(image: str) -> tuple[str, str]:
    """Media type and base64 of an image that is given as base64."""
    kind = next((kind for start, kind in _MAGIC.items() if image.startswith(start)), "png")
    return f"image/{kind}", image
