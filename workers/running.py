"""A job while this worker owns it: what its engine has made and Redis does not have yet."""

from __future__ import annotations

import base64
import struct
import time
from collections import deque
from collections.abc import Sequence

from queuechat import keys
from queuechat.bus import Claim, Item
from queuechat.dialects.order import BYTES, about
from queuechat.errors import ContextLengthExceeded, EngineDied, InvalidRequest, QueuechatError
from queuechat.protocol import Chunk, End, Failure, Logprob, PrefixHash, Read, Reason
from workers.engines.base import Finished, Prompt, Usage
from workers.text.transcript import Transcript

REPLAYED_S = 20.0  # for so long items are kept to be said again


class _Held:
    def __init__(self, claim: Claim, offset: int):
        self.claim = claim
        self.verdict: Reason | None = None  #: why it is being stopped from outside
        self.late_at = time.monotonic() + claim.left_ms / 1000  #: time.monotonic() of its deadline
        self.offset = offset
        self._hash = PrefixHash()
        self._sent: deque[tuple[float, Item]] = deque()
        self.said_again = False  #: that Redis lacked something at its end
        self._end: End | None = None

    @property
    def proven(self) -> bool:
        """Whether it has come so far under this owner that it does not look like one that kills its worker."""
        return self.offset - self.claim.offset >= keys.PROVEN

    @property
    def urgent(self) -> bool:
        """Whether somebody, a reader or the queue, waits for what it says next."""
        return not (self.claim.job.heaped and self.proven) or self.over

    @property
    def over(self) -> bool:
        return self._end is not None

    def replay(self) -> list[Item]:
        """What this owner has published of late, in order. Redis loses no more than its last moments; if it did, this
        does not fit, and whoever takes the job over makes again what is missing."""
        return [item for _, item in self._sent]

    def fail(self, error: QueuechatError, prompt_tokens: int = 0, generated: int | None = None) -> None:
        """End it with an error that the client sees."""
        failure = Failure(error.code, error.message, error.param)
        self._end = End(Reason.ERROR, self.offset, "", prompt_tokens, failure, generated=generated)

    def _cut(self, reason: Reason, offset: int, prompt_tokens: int, generated: int | None = None) -> None:
        """End it at `offset`: Redis took nothing from there on."""
        if self._end is None:
            self.offset = offset
            self._end = End(reason, offset, prompt_tokens=prompt_tokens, generated=generated)

    def _item(self, hashed: Sequence[int], chunk: Chunk) -> Item:
        before, after = self._hash.value, self._hash.update(hashed)
        item = Item(self.claim.job.id, self.claim.nonce, chunk.offset, chunk.count, before, after, chunk.encode())
        now = time.monotonic()
        self._sent.append((now, item))
        while self._sent[0][0] < now - REPLAYED_S:
            self._sent.popleft()
        self.offset = chunk.end
        return item


class Generation(_Held):
    """A sequence in the engine's batch. `prefix_ids` were delivered by earlier owners."""

    def __init__(self, claim: Claim, prompt: Prompt, transcript: Transcript):
        super().__init__(claim, len(prompt.prefix_ids))
        self.prompt = prompt
        self._transcript = transcript
        self._fresh: list[int] = []
        self._logprobs: list[Logprob] = []  # of the fresh ones
        self._finished: Reason | None = None
        self._failure: QueuechatError | None = None
        self._usage: Usage | None = None
        self._met = ""  # the stop string, where the engine tells it
        self._likely: list[Logprob] = []  # of the prompt, until it is said
        #: whether its prompt is still to be scored: what has said a token has said that, too
        self.unscored = claim.job.prompt_logprobs is not None and not prompt.prefix_ids
        if prompt.prefix_ids:
            self._hash.update(prompt.prefix_ids)
            if transcript.push(prompt.prefix_ids).stopped:
                self._finished = Reason.STOP
        if self._finished is None and self.offset >= prompt.max_new:
            self._finished = Reason.LENGTH

    @property
    def over(self) -> bool:
        return self._finished is not None or self._end is not None

    @property
    def urgent(self) -> bool:
        """Where words may end it, they are to be found before much is written after them for nobody."""
        return super().urgent or self._transcript.looks_for_words

    def add(self, ids: Sequence[int], logprobs: Sequence[Logprob] = ()) -> None:
        """Tokens of one engine step."""
        if not self.over:
            self._fresh += ids
            self._logprobs += logprobs

    def scored(self, likely: list[Logprob]) -> None:
        """How likely the tokens of its prompt are; before its first token."""
        self._likely, self.unscored = likely, False

    def stop(self, reason: Reason, offset: int) -> None:
        self._fresh.clear()
        self._cut(reason, offset, *self._spent(offset))

    def finished(self, reason: Reason, usage: Usage | None = None, met: str = "") -> None:
        """The engine's last word."""
        if not self.over:
            self._finished, self._usage, self._met = reason, usage, met

    def ended(self, event: Finished) -> None:
        """The engine's last event of it. Raises EngineDied when another worker must go on with it."""
        if event.reason != "error":
            self.finished(Reason(event.reason), event.usage, event.stop)
        elif event.failure:
            self._failure, self._finished = event.failure, Reason.ERROR
        elif event.retryable:
            raise EngineDied(event.error)
        else:
            error = InvalidRequest(event.error, param=event.param) if event.param else QueuechatError(event.error)
            self.fail(error, len(self.prompt.prompt_ids))

    def flush(self) -> Item | None:
        if not self._fresh:
            return None
        fresh, self._fresh = self._fresh, []
        logprobs, self._logprobs = self._logprobs, []
        delta = self._transcript.push(fresh)
        if delta.stopped:
            self._finished = Reason.STOP
        taken = fresh[: delta.taken]
        likely, self._likely = self._likely, []
        chunk = Chunk(self.offset, len(taken), delta.text, taken, logprobs=logprobs[: delta.taken], prompt=likely)
        return self._item(taken, chunk)

    def end(self) -> End | None:
        if self._end is None and self._finished is not None and not self._fresh and not self.unscored:
            read, generated = self._spent(self.offset)
            if self._failure:  # what it said before counts, if it said anything
                self.fail(self._failure, *((read, generated) if self.offset else (0, generated)))
                return self._end
            reason = self.verdict if self._finished is Reason.CANCELLED and self.verdict else self._finished
            tail = self._transcript.finish()
            met = self._transcript.met or self._met
            self._end = End(reason, self.offset, tail, read, stop=met, prompt=self._likely, generated=generated)
        return self._end

    def _spent(self, offset: int) -> tuple[int, int | None]:
        """Tokens read, and those written where the offset does not tell them: about so many until the provider does."""
        if self._usage:
            return self._usage.prompt_tokens, self._usage.tokens
        asked = self.prompt.asked
        return (about(asked), -(-offset // BYTES)) if asked else (len(self.prompt.prompt_ids), None)


class Embedding(_Held):
    """A list of inputs, each an item of the stream: what earlier owners delivered is not made again."""

    def __init__(self, claim: Claim, inputs: list[list[int]]):
        super().__init__(claim, claim.offset)
        self.inputs = inputs
        if claim.offset:
            self._hash.update(range(claim.offset))
        self._fresh: list[list[float]] = []
        self._over = False

    def add(self, vectors: Sequence[Sequence[float]]) -> None:
        self._fresh += [list(vector) for vector in vectors]

    def stop(self, reason: Reason, offset: int) -> None:
        self._fresh.clear()
        self._cut(reason, offset, sum(map(len, self.inputs)))

    def finished(self) -> None:
        self._over = True

    def flush(self) -> Item | None:
        if not self._fresh:
            return None
        vector = self._fresh.pop(0)
        packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        return self._item([self.offset], Chunk(self.offset, 1, vector=packed))

    @property
    def over(self) -> bool:
        return self._over or self._end is not None

    def end(self) -> End | None:
        if self._end is None and self._over and not self._fresh:
            prompt_tokens = sum(map(len, self.inputs))
            self._end = End(self.verdict or Reason.STOP, self.offset, prompt_tokens=prompt_tokens)
        return self._end


class Reading(_Held):
    """A prompt that is only read: its End tells all, so that there is nothing to resume."""

    def __init__(self, claim: Claim):
        super().__init__(claim, claim.offset)
        self._read: Read | None = None
        self._over = False

    def add(self, read: Read) -> None:
        self._read = read

    def stop(self, reason: Reason, offset: int) -> None:
        self._cut(reason, offset, 0)

    def finished(self) -> None:
        self._over = True

    def flush(self) -> Item | None:
        return None

    @property
    def over(self) -> bool:
        return self._over or self._end is not None

    def end(self) -> End | None:
        if self._end is None and self._over:
            self._end = End(self.verdict or Reason.STOP, self.offset, read=self._read)
        return self._end


def check_inputs(inputs: Sequence[Sequence[int]], limit: int) -> None:
    """Raises for an input of no tokens (it has no embedding) or of more than `limit`."""
    for index, ids in enumerate(inputs):
        param = f"input[{index}]"
        if not ids:
            raise InvalidRequest(f"{param} is empty: it has no embedding", param=param)
        if len(ids) > limit:
            raise ContextLengthExceeded(
                f"This model's maximum context length is {limit} tokens. However, {param} has {len(ids)} tokens.",
                param=param,
            )
