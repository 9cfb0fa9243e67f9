"""What an engine is: it is handed sequences of token ids and yields what one step added to all of them.

Laws, held by `tests/workers/engines/test_laws.py` for every engine:

1. The offsets of a sequence are contiguous from `len(prefix_ids)`, and it gets exactly one `Finished`.
2. Never more than `max_new - len(prefix_ids)` tokens come.
3. After `abort` at most one more step of tokens comes, then `Finished(reason="cancelled")`. Aborting twice, or
   something unknown, is harmless.
4. A parameter that the engine cannot honour is refused by `admit`, with its name; none is ignored. So are ids that
   are not of the vocabulary, by `admit` and by `embed`; nobody else's answer suffers.
5. Greedy decoding cut anywhere and resumed with `prefix_ids` goes on with the same ids. With `caps.resume ==
   "exact"` that holds for sampled decoding too, alone or in a busy batch.
6. An engine that dies ends every sequence with `Finished(reason="error", retryable=True)`.
7. Logits that are not finite never become tokens: a request that alone has them ends with an error of its own.
8. Under a grammar every answer that ends with "stop" is one of the grammar's, whatever the sampling, alone, in a
   crowd or resumed. A grammar that cannot be used is refused by `admit`, or ends the sequence with an error that
   names "response_format".
9. `logprobs` come for each token that was asked for them, are the model's own (before temperature, bias, penalties and
   grammar), and leave the tokens as they are.

Everything that is text (templates, detokenising, stop strings) is above the engine, a pure function of the ids.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, runtime_checkable

from queuechat.errors import InvalidRequest, QueuechatError, UnsupportedParameter
from queuechat.protocol import MAX_LOGPROBS, Grammar, GrammarKind, Job, Logprob, Sampling


@dataclass(frozen=True, slots=True)
class Sight:
    """A prompt with images: its ids, as many placeholders as they need among them, and what else the model is given
    beside these, by the names of its arguments (tensors)."""

    ids: Sequence[int]
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A sequence to generate. `prefix_ids` are output tokens that were delivered before: they count as output.

    `max_new` counts from the original start, the prefix included. An id of `stop_ids` ends the sequence; whether that
    id itself is yielded is the engine's choice.
    """

    id: str
    prompt_ids: Sequence[int]
    max_new: int
    prefix_ids: Sequence[int] = ()
    stop_ids: frozenset[int] = frozenset()
    sampling: Sampling = field(default_factory=Sampling)
    logprobs: int | None = None
    grammar: Grammar | None = None  # then the ends of the vocabulary end the sequence, whatever `stop_ids` says
    sight: Sight | None = None  # then `prompt_ids` are its ids
    asked: Job | None = None  # what an engine passes on that reads no ids; then `prompt_ids` are none
    adapter: str = ""  # one of `Caps.adapters`; "" is the base model


@dataclass(frozen=True, slots=True)
class Tokens:
    """Ids at [offset, offset + len(ids)) of the output of one sequence; a logprob for each, or none at all."""

    id: str
    offset: int
    ids: list[int]
    logprobs: list[Logprob] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written, as they are charged."""

    prompt_tokens: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a sequence. `param` names what of the request an error is about, if it is about that; `failure`
    is an error that is told as it is. `usage`, and `stop` (the stop string that was met), are of an engine that knows
    better than the ids tell."""

    id: str
    reason: Literal["stop", "length", "cancelled", "error"]
    error: str = ""
    retryable: bool = False
    param: str | None = None
    failure: QueuechatError | None = None
    usage: Usage | None = None
    stop: str = ""


Step = list[Tokens | Finished]


@dataclass(frozen=True, slots=True)
class Caps:
    """What an engine can do. `context_length` in tokens, `max_running` in sequences."""

    context_length: int
    max_running: int
    resume: Literal["exact", "distribution", "none"]
    embeds: bool
    device: str
    grammars: frozenset[GrammarKind] = frozenset()
    logprobs: bool = False
    scores: bool = False
    generates: bool = True
    vision: bool = False
    units: Literal["tokens", "bytes"] = "tokens"  # what ids are; bytes are of text that a provider elsewhere wrote
    adapters: frozenset[str] = frozenset()
    quantization: str = ""  # how the weights are kept, where that is not a dtype


class Vocabulary(Protocol):
    """Text to ids and back, and what the model's own files say of its special tokens."""

    eos_ids: frozenset[int]
    chat_template: str | None
    special_tokens: dict[str, str]  # bos_token, eos_token, ...: names that templates use
    waits: bool  # whether `encode` may wait for others, so that no event loop may call it

    def __len__(self) -> int:
        """How many ids there are."""

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        """Ids of a text; special tokens written in it are parsed. `add_special` adds BOS where the model wants it."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids without special tokens; an incomplete UTF-8 tail decodes to U+FFFD."""

    def keeping(self, words: Collection[str]) -> Self:
        """One whose `decode` keeps these special tokens, those of them that there are and that end no answer."""

    def id_of(self, token: str) -> int | None:
        """The id of a token by its name; None when there is none."""

    def bytes_of(self, id: int) -> bytes:
        """What one token stands for inside a text, maybe a part of a UTF-8 character; a special one as it is named."""


@runtime_checkable
class SeeingVocabulary(Vocabulary, Protocol):
    """Of a model that takes images."""

    def see(self, text: str, images: Sequence[Any]) -> Sight:
        """A rendered prompt with its images, which are of PIL, in order.

        Raises:
            InvalidImage: the model's processor cannot use one, or the prompt has no place for them.
        """


class Engine(Protocol):
    """Seven verbs. `admit` and `abort` never wait; `start` and `embed` block and are called off the event loop."""

    caps: Caps
    vocabulary: Vocabulary

    def start(self) -> None:
        """Load and warm up. Raises Misconfigured with what to do."""

    def admit(self, prompt: Prompt) -> None:
        """Take a sequence into the running batch.

        Raises:
            UnsupportedParameter: the engine cannot honour a parameter; `param` names it.
            InvalidRequest: an id of prompt or prefix is not of the vocabulary; `param` is "prompt".
            EngineDied: it is not running.
        """

    def abort(self, id: str) -> None:
        """End a sequence soon; its `Finished` still comes."""

    def steps(self) -> AsyncIterator[Step]:
        """One list of events per engine step, for as long as the engine lives; called once. A list without events says
        that the engine is at work, on a step that takes long."""

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """Mean-pooled, L2-normalised last hidden states: one vector per input, in order.

        Raises:
            InvalidRequest: an id is not of the vocabulary; `param` is "input".
            EngineDied: it is not running.
        """

    def running(self) -> int:
        """Sequences that were admitted and have not finished."""

    def close(self) -> None:
        """Stop and free everything; safe to call twice."""


class Wearer(Protocol):
    """An engine with `caps.adapters` has this as well."""

    def wearing(self, adapter: str) -> AbstractContextManager[None]:
        """What this thread embeds and scores meanwhile, it does with an adapter; "" is the base model."""


class Scorer(Protocol):
    """An engine whose `caps.scores` is true has this as well."""

    def score(self, ids: Sequence[int], alternatives: int) -> list[Logprob]:
        """How likely the model finds each of these tokens after those before it; of the first, None. Blocks as `embed`
        does.

        Raises:
            InvalidRequest: an id is not of the vocabulary; `param` is "prompt".
            EngineDied: it is not running.
        """


@runtime_checkable
class Paced(Protocol):
    """An engine that may not always begin as many as it could hold."""

    def room(self) -> int:
        """How many sequences more may begin now."""


def refuse_unknown(ids: Sequence[int], size: int, *, param: str) -> None:
    """Raises InvalidRequest for an id that a vocabulary of `size` does not have."""
    if ids and (min(ids) < 0 or max(ids) >= size):
        raise InvalidRequest(f"token ids lie in [0, {size})", param=param)


def refuse_beyond(prompt: Prompt, caps: Caps) -> None:
    """Raises UnsupportedParameter for images, adapters, logprobs and grammars that an engine cannot do, InvalidRequest
    for too many logprobs."""
    if prompt.adapter and prompt.adapter not in caps.adapters:
        raise UnsupportedParameter(f"this model's engine has no adapter {prompt.adapter!r}", param="model")
    if prompt.sight is not None and not caps.vision:
        raise UnsupportedParameter("this model sees no images: leave them out", param="messages")
    if prompt.logprobs is not None:
        if not caps.logprobs:
            raise UnsupportedParameter("this model's engine has no logprobs: leave them out", param="logprobs")
        if not 0 <= prompt.logprobs <= MAX_LOGPROBS:
            raise InvalidRequest(f"there are 0 to {MAX_LOGPROBS} top_logprobs for each token", param="top_logprobs")
    if prompt.grammar is not None and prompt.grammar.kind not in caps.grammars:
        can = f"it knows {', '.join(sorted(caps.grammars))}" if caps.grammars else "it knows none"
        raise UnsupportedParameter(
            f"this model's engine cannot hold an answer to a grammar of kind {prompt.grammar.kind!r}: {can}",
            param="response_format",
        )
