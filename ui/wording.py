"""The words people read: status, waiting, footers, notices. Plain text; `view` turns it into what the page shows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from queuechat.errors import (
    BusUnavailable,
    ContextLengthExceeded,
    DeadlineExceeded,
    MemoryLow,
    ModelNotFound,
    NoWorker,
    QueuechatError,
    QueueFull,
    RateLimited,
    StateLost,
    WaitTooLong,
)
from queuechat.protocol import End, Reason, Times
from queuechat.roster import Census
from ui.gate.refusals import ContentFlagged, ModerationUnavailable, TermsNotAccepted

NO_MODEL = "No worker is running. Start one with `queuechat worker --model smollm2`."
NOT_RECORDED = "Your vote could not be recorded: vote again in a moment."
NO_REDIS = "Redis does not answer."
BLIND_BATTLE = "These two read text only. Start a new round with the image: it is given to models that take images."
VOTED_BEFORE = "An earlier vote of yours had been counted already; it stays."
FORGOTTEN = "This server no longer knows this battle. Start a new one."
LEFT = "You left before this answer was complete. Retry."


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def seconds(value: float) -> str:
    """A duration in as many digits as anybody cares for."""
    if value < 1:
        return f"{value:.2f} s"
    if value < 10:
        return f"{value:.1f} s"
    return f"{round(value)} s" if value < 120 else f"{round(value / 60)} min"


def size(count: int) -> str:
    """Bytes, in as many digits as anybody cares for."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 10_000 else f"{round(count / 1000):,} kB"


def blind(model: str, seers: Sequence[str]) -> str:
    """Who is to be asked about images instead."""
    if not seers:
        return f"{model} reads text only, and no model that takes images is served now. Leave the images out."
    return f"{model} reads text only. Images are taken by {', '.join(seers)}: pick one, or leave the images out."


def too_many_images(limit: int) -> str:
    return f"A question may have {count(limit, 'image')}, and these are more: leave some out"


def too_many_files(number: int, images: int, texts: int) -> str:
    may = f"{count(images, 'image')} and {count(texts, 'text file')}"
    return f"These are {count(number, 'file')}, and a question may have {may}: leave some out"


def too_large(name: str, has: int, may: int) -> str:
    return f"`{name}` has {size(has)}, and a file may have {size(may)}: make it smaller"


def ago(value: float) -> str:
    """How long ago, in seconds, in words."""
    for noun, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if value >= size:
            return f"{count(round(value / size), noun)} ago"
    return "just now"


def status_line(census: Census, waiting: int, running: int) -> str:
    """The header's line: what is served, by how many, and how busy they are."""
    models, workers = count(len(census.live), "model"), count(len(census.workers), "worker")
    return f"{models} · {workers} · {waiting:,} waiting · {running:,} running"


def no_pair(models: Sequence[str], *, pictures: bool = False) -> str:
    """Why there can be no battle, and what to do."""
    kind = "models that take images" if pictures else "models"
    if not models:
        return f"A battle needs two {kind}, and none is served. Start them with `queuechat worker --model …`."
    if len(models) == 1:
        served = f"A battle needs two {kind}, and only {models[0]} is served."
        return f"{served} Start another with `queuechat worker --model …`."
    return "No two of the live models may meet: the rules in QUEUECHAT_ARENA_PAIRS leave none."


def waiting_line(place: int, eta_s: float) -> str:
    """What the pending bubble says until the first token."""
    if not place:
        return "Thinking"
    line = "Next in line" if place == 1 else f"Number {place:,} in line"
    return f"{line} · about {max(1, math.ceil(eta_s))} s" if eta_s else line


def rate_of(tokens: int, over_s: float) -> str:
    """Tokens a second; empty when there is nothing to measure between the first and the last."""
    if tokens < 2 or over_s <= 0:
        return ""
    rate = (tokens - 1) / over_s
    return f"{rate:,.0f} tok/s" if rate >= 10 else f"{rate:.1f} tok/s"


def live_line(tokens: int, over_s: float) -> str:
    """The line under an answer that is still being written."""
    return " · ".join(part for part in (rate_of(tokens, over_s), count(tokens, "token")) if part)


def footer_line(end: End, model: str) -> str:
    """The line under an answer, all of it by Redis' clock."""
    parts = [_ending(end.reason), *_intervals(end.times)]
    if end.times.first:
        parts.append(rate_of(end.tokens, (end.times.ended - end.times.first) / 1000))
    parts += [count(end.tokens, "token"), model]
    return " · ".join(part for part in parts if part)


def _ending(reason: Reason) -> str:
    return {Reason.CANCELLED: "stopped", Reason.LENGTH: "cut at the token limit"}.get(reason, "")


def _intervals(times: Times) -> list[str]:
    parts = []
    if times.started:
        parts.append(f"queued {seconds(max(times.started - times.queued, 0) / 1000)}")
    if times.first:
        parts.append(f"first token {seconds(max(times.first - times.started, 0) / 1000)}")
    return parts


def notice_of(error: QueuechatError, model: str) -> str:
    """What went wrong and what to do, for people; backticks mark commands."""
    for kind, words in _NOTICES.items():
        if isinstance(error, kind):
            return words(error, model)
    return f"{error.message.rstrip('.')}."


def _full(error: QueuechatError, model: str) -> str:
    wait = f"in {seconds(math.ceil(error.retry_after))}" if error.retry_after else "in a moment"
    return f"The queue for {model} is full. Try again {wait}."


def _too_often(error: QueuechatError, _: str) -> str:
    wait = seconds(max(1, math.ceil(error.retry_after or 0)))
    return f"{error.message[0].upper()}{error.message[1:]}. Ask again in {wait}; your message is kept."


def _flagged(_: QueuechatError, model: str) -> str:
    return (
        f"Moderation has flagged your question, or something before it, so nothing was sent to {model}. "
        "Put it differently, or begin a new conversation."
    )


def _unjudged(error: QueuechatError, _: str) -> str:
    wait = seconds(math.ceil(error.retry_after or 30))
    return f"Questions are checked here before they are sent, which is not possible now. Try again in {wait}."


def _not_agreed(_: QueuechatError, model: str) -> str:
    return "Accept the terms of use before you ask: reload this page to read them. Your message is kept."


def _unserved(_: QueuechatError, model: str) -> str:
    if not model:
        return NO_MODEL
    return f"No worker serves {model} now. Start one with `queuechat worker --model {model}`, then retry."


def _late(_: QueuechatError, model: str) -> str:
    return "The deadline passed before the answer was complete. Retry, or ask for fewer tokens."


def _away(_: QueuechatError, model: str) -> str:
    return f"{NO_REDIS} Your message is kept: retry when it is back."


def _lost(_: QueuechatError, model: str) -> str:
    return "Redis has forgotten this request. Your message is kept: retry it."


_NOTICES: dict[type[QueuechatError], Callable[[QueuechatError, str], str]] = {
    QueueFull: _full,
    WaitTooLong: _full,
    MemoryLow: _full,
    RateLimited: _too_often,
    ContentFlagged: _flagged,
    ModerationUnavailable: _unjudged,
    TermsNotAccepted: _not_agreed,
    NoWorker: _unserved,
    ModelNotFound: _unserved,
    DeadlineExceeded: _late,
    BusUnavailable: _away,
    StateLost: _lost,
}


def uncounted(error: QueuechatError) -> str:
    """Why a vote did not count, and what to do."""
    if isinstance(error, BusUnavailable):
        return f"{NO_REDIS} Your vote is not counted yet: vote again in a moment."
    return f"{error.message.rstrip('.')}."


def nameless(error: QueuechatError, model: str) -> str:
    """What went wrong before a model was asked, where nobody may read which one it is."""
    if isinstance(error, NoWorker | ModelNotFound):
        return _GONE
    words = notice_of(error, "this model")
    return re.sub(rf"(?<!\w){re.escape(model)}(?!\w)", "this model", words, flags=re.IGNORECASE) if model else words


def nameless_failure(failure: QueuechatError) -> str:
    """How an answer failed, in words of ours alone."""
    return next((words for kind, words in _FAILURES.items() if isinstance(failure, kind)), _SILENT)


_GONE = "Nobody serves this model any more. Retry in a moment, or start a new round."
_SILENT = "This model could not answer. Retry, or start a new round."
_FAILURES: dict[type[QueuechatError], str] = {
    ContextLengthExceeded: "The conversation has become too long for this model. Start a new round.",
    DeadlineExceeded: "The deadline passed before the answer was complete. Retry.",
    StateLost: "Redis has forgotten this request. Retry it.",
}
