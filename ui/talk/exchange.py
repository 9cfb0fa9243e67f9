"""A conversation, and the job that answers its last question.

The page keeps `Exchange`s. What people see beside the words (footers, notices) lies in fields of its own, so the
history that a model reads is made of questions and answers only.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from queuechat.protocol import Job, Sampling, new_id


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and what came of it."""

    question: str
    answer: str = ""
    footer: str = ""
    notice: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What the page's controls say."""

    model: str
    system: str = ""
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int | None = None
    seed: int | None = None
    stop: str = ""


def restore(stored: object) -> list[Exchange]:
    """The conversation a browser kept; what is not one is left out."""
    names = {f.name for f in fields(Exchange)}
    rows = stored if isinstance(stored, list) else []
    kept = [row for row in rows if isinstance(row, dict) and isinstance(row.get("question"), str)]
    return [Exchange(**{k: v for k, v in row.items() if k in names and isinstance(v, str)}) for row in kept]


def store(conversation: Iterable[Exchange]) -> list[dict[str, str]]:
    return [asdict(exchange) for exchange in conversation]


def history(conversation: Sequence[Exchange], system: str) -> list[dict[str, Any]]:
    """The messages that a model reads. Questions that were never answered are left out, except the last."""
    messages = [_message("system", system.strip())] if system.strip() else []
    for exchange in conversation[:-1]:
        if exchange.answer:
            messages += [_message("user", exchange.question), _message("assistant", exchange.answer)]
    return [*messages, *(_message("user", last.question) for last in conversation[-1:])]


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def job_of(conversation: Sequence[Exchange], options: Options, *, deadline_s: float) -> Job:
    """The job that answers the last question."""
    sampling = Sampling(
        temperature=options.temperature,
        top_p=options.top_p,
        top_k=options.top_k,
        seed=secrets.randbits(63) if options.seed is None else options.seed,
    )
    return Job(
        id=new_id(),
        model=options.model,
        messages=history(conversation, options.system),
        sampling=sampling,
        max_tokens=options.max_tokens,
        stop=[line for line in options.stop.splitlines() if line],
        deadline_s=deadline_s,
    )
