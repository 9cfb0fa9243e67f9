"""The wire: what API, UI and workers say to each other. Values, orjson in and out, a version byte first.

A `Job` asks for one sequence (one choice of a request) or one list of embeddings. What comes back is a run of
`Chunk`s whose offsets are contiguous from 0, then exactly one `End`. An offset counts tokens (of an answer) or items
(of an embedding job), so it names the same place in the stream for worker, Redis and client.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

import orjson

from queuechat.cards import Depth as Depth
from queuechat.cards import ModelCard as ModelCard
from queuechat.cards import WorkerCard as WorkerCard
from queuechat.sampling import Grammar as Grammar
from queuechat.sampling import GrammarKind as GrammarKind
from queuechat.sampling import Sampling as Sampling
from queuechat.tokens import MAX_LOGPROBS as MAX_LOGPROBS
from queuechat.tokens import MAX_READ as MAX_READ
from queuechat.tokens import MAX_READ_BYTES as MAX_READ_BYTES
from queuechat.tokens import Logprob as Logprob
from queuechat.tokens import PrefixHash as PrefixHash
from queuechat.tokens import Read as Read
from queuechat.tokens import Want as Want
from queuechat.wire import VERSION as VERSION
from queuechat.wire import chosen, load


class Reason(StrEnum):
    """Why a job ended."""

    STOP = "stop"  #: the model ended its answer, or a stop string was met
    LENGTH = "length"  #: max_tokens, or the end of the context
    CANCELLED = "cancelled"  #: by request, or because every reader had left
    DEADLINE = "deadline"  #: its deadline passed
    ERROR = "error"  #: it can never work (bad prompt); `error` says why
    DEAD = "dead"  #: it killed its workers and was put aside as a dead letter


DELIVERED = frozenset({Reason.STOP, Reason.LENGTH})


@dataclass(frozen=True, slots=True)
class Job:
    """One sequence to generate, one list of inputs to embed, or one prompt to read. Exactly one of messages, prompt,
    inputs is set.

    A job with `reading` only wants to know what its prompt is to the model: how many tokens, their ids, the text of
    each beside them; or (of a prompt that is ids) its text. It belongs in the lane `reads`, takes no place of the
    engine, and its End tells.
    """

    id: str
    model: str
    messages: list[dict[str, Any]] | None = None
    prompt: str | list[int] | None = None
    inputs: list[str | list[int]] | None = None
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    stop: list[str] = field(default_factory=list)
    ignore_eos: bool = False
    template_args: dict[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] = field(default_factory=list)  #: in OpenAI's form, which chat templates take
    lane: Literal["jobs", "bulk", "reads"] = "jobs"
    tenant: str = ""
    deadline_s: float = 600.0
    logprobs: int | None = None  #: alternatives of each token, 0 to MAX_LOGPROBS; None: no log probabilities at all
    grammar: Grammar | None = None
    reading: Want | None = None
    add_special: bool = True  #: whether a prompt of text gets what the model puts around one, as its BOS
    fit: bool = False  #: max_tokens that are over what the context has left are cut to it, not refused
    prompt_logprobs: int | None = None  #: the same as logprobs of the prompt's tokens
    suffix: str | None = None  #: what follows the answer, for models that fill in the middle
    images: list[str] = field(default_factory=list)  #: base64 of image files, in the order of their parts in messages
    heaped: bool = False  #: nobody reads along: its tokens may be published a heap at a time
    #: Of models that a provider elsewhere serves, who is asked in his own words: which fields of `sampling` the request
    #: itself has set, whether its answer must call a tool, and how many calls it may have (0: any number).
    given: list[str] = field(default_factory=list)
    must_call: bool = False
    most_calls: int = 0

    def encode(self) -> bytes:
        body = chosen(self) | {"sampling": chosen(self.sampling, "logit_bias")}
        return VERSION + orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)

    @classmethod
    def decode(cls, raw: bytes) -> Job:
        """Raises ValueError for what another release, or nobody, has written."""
        body = load(raw)
        try:
            sampling = body.pop("sampling")
            sampling["logit_bias"] = {int(k): v for k, v in sampling["logit_bias"].items()}
            grammar = body.pop("grammar", None)
            return cls(sampling=Sampling(**sampling), grammar=Grammar(**grammar) if grammar else None, **body)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a job of this release: {error}") from error


@dataclass(slots=True)  # frozen, it would take twice as long to make, and there is one for every token
class Chunk:
    """Tokens [offset, offset + count) of an answer, and the text that they add.

    Text may lag behind the ids: half a UTF-8 character or a possible stop string is held back. An embedding job
    sends one item a chunk, as base64 of little-endian float32. `logprobs` are as many as ids, or none. `prompt` are
    those of the prompt's tokens, with the first chunk, where they were asked for; the first token has none.
    """

    offset: int
    count: int
    text: str = ""
    ids: list[int] = field(default_factory=list)
    vector: str = ""
    logprobs: list[Logprob] = field(default_factory=list)
    prompt: list[Logprob] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.offset + self.count

    @property
    def hashed(self) -> Sequence[int]:
        """What the prefix hash covers: the ids; of an embedding job the places of its items."""
        return self.ids or range(self.offset, self.end)

    def encode(self) -> bytes:
        body: dict[str, Any] = {"o": self.offset, "n": self.count}
        if self.text:
            body["t"] = self.text
        if self.ids:
            body["i"] = self.ids
        if self.vector:
            body["v"] = self.vector
        if self.logprobs:
            body["l"] = [logprob.pack() for logprob in self.logprobs]
        if self.prompt:
            body["p"] = [logprob.pack() for logprob in self.prompt]
        return VERSION + orjson.dumps(body)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of the tree on the wire."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of Redis' clock since the epoch; 0 where it never came to that."""

    queued: int = 0
    started: int = 0
    first: int = 0
    ended: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """The last word of every job. `offset` is the number of tokens (or items) delivered, `text` what was held back,
    `stop` the stop string that was met; `prompt` is as in a chunk, of an answer that has none. `generated` is how many
    tokens were written where offsets count something else: the answers of providers elsewhere come as text, and theirs
    count bytes."""

    reason: Reason
    offset: int = 0
    text: str = ""
    prompt_tokens: int = 0
    error: Failure | None = None
    times: Times = Times()
    read: Read | None = None
    stop: str = ""
    prompt: list[Logprob] = field(default_factory=list)
    generated: int | None = None

    @property
    def tokens(self) -> int:
        """How many were written."""
        return self.offset if self.generated is None else self.generated

    def encode_verdict(self) -> bytes:
        """The worker's part; Redis adds offset and times when it ends the job."""
        body: dict[str, Any] = {"reason": self.reason.value, "prompt_tokens": self.prompt_tokens}
        if self.generated is not None:
            body["generated"] = self.generated
        if self.text:
            body["text"] = self.text
        if self.stop:
            body["stop"] = self.stop
        if self.error:
            body["error"] = asdict(self.error)
        if self.read:
            body["read"] = self.read  # orjson's own way: there may be a million ids
        if self.prompt:
            body["prompt"] = [logprob.pack() for logprob in self.prompt]
        return orjson.dumps(body)


def decode_event(raw: bytes) -> Chunk | End:
    """A log entry or pub/sub message back as what it was.

    Raises:
        ValueError: the version byte is not ours, or the rest is not such an event.
    """
    body = load(raw)
    verdict = body.get("end")
    if verdict is None:
        logprobs, prompt = _unpacked(body.get("l")), _unpacked(body.get("p"))
        return Chunk(body["o"], body["n"], body.get("t", ""), body.get("i", []), body.get("v", ""), logprobs, prompt)
    return End(
        reason=Reason(verdict["reason"]),
        offset=body["o"],
        text=verdict.get("text", ""),
        prompt_tokens=verdict.get("prompt_tokens", 0),
        error=Failure(**verdict["error"]) if verdict.get("error") else None,
        times=Times(*body["at"]),
        read=Read(**verdict["read"]) if "read" in verdict else None,
        stop=verdict.get("stop", ""),
        prompt=_unpacked(verdict.get("prompt")),
        generated=verdict.get("generated"),
    )


def _unpacked(packed: list[list[Any]] | None) -> list[Logprob]:
    return [Logprob.unpack(one) for one in packed] if packed else []


def new_id() -> str:
    """A request id: 128 random bits, so that nobody reads another's stream by guessing."""
    return secrets.token_hex(16)


def choice_id(request_id: str, choice: int) -> str:
    """The job id of a choice: the request's own for the first, `<request>.<k>` for the others."""
    return request_id if choice == 0 else f"{request_id}.{choice}"
