"""The wire: what API, UI and workers say to each other. Frozen values, orjson in and out, a version byte first.

A `Job` asks for one sequence (one choice of a request) or one list of embeddings. What comes back is a run of
`Chunk`s whose offsets are contiguous from 0, then exactly one `End`. An offset counts tokens (of an answer) or items
(of an embedding job), so it names the same place in the stream for worker, Redis and client.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Literal

import orjson

from queuechat.tokens import MAX_LOGPROBS as MAX_LOGPROBS
from queuechat.tokens import Logprob as Logprob
from queuechat.tokens import PrefixHash as PrefixHash

VERSION = b"1"


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
class Sampling:
    """How the next token is drawn. Temperature 0 is greedy; top_k 0 and the neutral values switch a filter off.

    `seed` is always set (the front end draws one if the user did not), so that any worker can go on with the same
    noise; `choice` keeps the n answers of one request apart.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    seed: int = 0
    choice: int = 0


GrammarKind = Literal["json_schema", "json_object", "regex", "choice", "lark"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must look like. `text` is, by kind: a JSON Schema; nothing; a regular expression for the whole
    answer; a JSON list of strings, of which the answer is one; a Lark grammar.
    """

    kind: GrammarKind
    text: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One sequence to generate, or one list of inputs to embed. Exactly one of messages, prompt, inputs is set."""

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
    lane: Literal["jobs", "bulk"] = "jobs"
    tenant: str = ""
    deadline_s: float = 600.0
    logprobs: int | None = None  #: alternatives of each token, 0 to MAX_LOGPROBS; None: no log probabilities at all
    grammar: Grammar | None = None
    images: list[str] = field(default_factory=list)  #: base64 of image files, in the order of their parts in messages

    def encode(self) -> bytes:
        return VERSION + orjson.dumps(asdict(self), option=orjson.OPT_NON_STR_KEYS)

    @classmethod
    def decode(cls, raw: bytes) -> Job:
        """Raises ValueError for what another release, or nobody, has written."""
        body = _load(raw)
        try:
            sampling = body.pop("sampling")
            sampling["logit_bias"] = {int(k): v for k, v in sampling["logit_bias"].items()}
            grammar = body.pop("grammar", None)
            return cls(sampling=Sampling(**sampling), grammar=Grammar(**grammar) if grammar else None, **body)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a job of this release: {error}") from error


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens [offset, offset + count) of an answer, and the text that they add.

    Text may lag behind the ids: half a UTF-8 character or a possible stop string is held back. An embedding job
    sends one item a chunk, as base64 of little-endian float32. `logprobs` are as many as ids, or none.
    """

    offset: int
    count: int
    text: str = ""
    ids: list[int] = field(default_factory=list)
    vector: str = ""
    logprobs: list[Logprob] = field(default_factory=list)

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
    """The last word of every job. `offset` is the number of tokens (or items) delivered, `text` what was held back."""

    reason: Reason
    offset: int = 0
    text: str = ""
    prompt_tokens: int = 0
    error: Failure | None = None
    times: Times = Times()

    def encode_verdict(self) -> bytes:
        """The worker's part; Redis adds offset and times when it ends the job."""
        body: dict[str, Any] = {"reason": self.reason.value, "prompt_tokens": self.prompt_tokens}
        if self.text:
            body["text"] = self.text
        if self.error:
            body["error"] = asdict(self.error)
        return orjson.dumps(body)


def decode_event(raw: bytes) -> Chunk | End:
    """A log entry or pub/sub message back as what it was.

    Raises:
        ValueError: the version byte is not ours, or the rest is not such an event.
    """
    body = _load(raw)
    verdict = body.get("end")
    if verdict is None:
        logprobs = [Logprob.unpack(packed) for packed in body.get("l", [])]
        return Chunk(body["o"], body["n"], body.get("t", ""), body.get("i", []), body.get("v", ""), logprobs)
    return End(
        reason=Reason(verdict["reason"]),
        offset=body["o"],
        text=verdict.get("text", ""),
        prompt_tokens=verdict.get("prompt_tokens", 0),
        error=Failure(**verdict["error"]) if verdict.get("error") else None,
        times=Times(*body["at"]),
    )


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a model is; the same for all its workers."""

    name: str
    aliases: list[str] = field(default_factory=list)
    context_length: int = 0
    engine: str = ""
    source: str = ""
    embeds: bool = False
    tool_format: str = ""  #: how it writes calls of tools
    reasoning: str = ""  #: the tag around its thoughts
    resume: Literal["exact", "distribution"] = "distribution"
    created: int = 0
    grammars: list[str] = field(default_factory=list)  #: kinds of grammar that it can be held to
    logprobs: bool = False
    vision: bool = False  #: whether messages may have images

    def encode(self) -> bytes:
        return VERSION + orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> ModelCard:
        return cls(**_known(cls, _load(raw)))


@dataclass(frozen=True, slots=True)
class WorkerCard:
    """A live worker and its load; renewed each second, gone three seconds after its last breath."""

    id: str
    model: str
    aliases: list[str] = field(default_factory=list)
    engine: str = ""
    device: str = ""
    host: str = ""
    pid: int = 0
    state: Literal["loading", "ready", "draining", "restarting"] = "loading"
    running: int = 0
    capacity: int = 0
    tokens_per_s: float = 0.0
    tokens: int = 0
    restarts: int = 0
    started: int = 0

    def encode(self) -> bytes:
        return VERSION + orjson.dumps(asdict(self))

    @classmethod
    def decode(cls, raw: bytes) -> WorkerCard:
        return cls(**_known(cls, _load(raw)))


@dataclass(frozen=True, slots=True)
class Depth:
    """How deep a model's queues are.

    `finished_per_s` is over the last jobs that ended, `pace_s` the seconds until the next place in the waiting room is
    free, from how long they ran and how many run at a time; 0 when unknown.
    """

    waiting: int = 0
    running: int = 0
    bulk_waiting: int = 0
    oldest_ms: int = 0
    dead: int = 0
    finished_per_s: float = 0.0
    pace_s: float = 0.0


def new_id() -> str:
    """A request id: 128 random bits, so that nobody reads another's stream by guessing."""
    return secrets.token_hex(16)


def choice_id(request_id: str, choice: int) -> str:
    """The job id of a choice: the request's own for the first, `<request>.<k>` for the others."""
    return request_id if choice == 0 else f"{request_id}.{choice}"


def _known(kind: type, body: dict[str, Any]) -> dict[str, Any]:
    """A card may say more than this release knows; a job may not, since every field of it changes the answer."""
    names = {f.name for f in fields(kind)}
    return {name: value for name, value in body.items() if name in names}


def _load(raw: bytes) -> dict[str, Any]:
    if raw[:1] != VERSION:
        raise ValueError(f"wire version {raw[:1]!r} is not {VERSION!r}: another release of queuechat wrote this")
    body = orjson.loads(raw[1:])
    if not isinstance(body, dict):
        raise ValueError("a wire value is a JSON object")
    return body
