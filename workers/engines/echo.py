"""No model: the words are a pure function of prompt and seed, at a set speed. For tests, demos and benches."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Self

from queuechat.errors import EngineDied, InvalidRequest, UnsupportedParameter
from workers.engines.base import Caps, Finished, Prompt, Step, Tokens, Vocabulary, refuse_beyond, refuse_unknown

_EOS = 0
_BYTES = 1  # ids 1..256 are bytes: any text can be a prompt
_WORDS_AT = _BYTES + 256
_SPOKEN = "queue stream token worker answer river stone light wind paper harbour signal lantern orchard copper meadow"
_WORDS = _SPOKEN.split()
_SIZE = _WORDS_AT + len(_WORDS)
_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


class EchoVocabulary:
    """Bytes for prompts, a few dozen words for answers."""

    eos_ids = frozenset({_EOS})
    chat_template: str | None = _TEMPLATE
    waits = False

    def __init__(self) -> None:
        self.special_tokens = {"eos_token": "<eos>"}

    def __len__(self) -> int:
        return _SIZE

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        return [_BYTES + byte for byte in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(_piece(id) for id in ids).decode(errors="replace")

    def keeping(self, words: Collection[str]) -> Self:
        return self  # it has no special tokens that it says

    def id_of(self, token: str) -> int | None:
        return _EOS if token == "<eos>" else None

    def bytes_of(self, id: int) -> bytes:
        return b"<eos>" if id == _EOS else _piece(id)


def _piece(id: int) -> bytes:
    if _BYTES <= id < _WORDS_AT:
        return bytes([id - _BYTES])
    if _WORDS_AT <= id < _SIZE:
        return b" " + _WORDS[id - _WORDS_AT].encode()
    return b""


@dataclass(slots=True)
class _Sequence:
    prompt: Prompt
    words: bytes  # 64 digest bytes, walked with a stride of the position: no state to resume
    at: int

    def next_id(self) -> int:
        return _WORDS_AT + (self.words[self.at & 63] + 7 * (self.at >> 6)) % len(_WORDS)


class EchoEngine:
    """All running sequences advance by one token a step. `rate` is tokens/s per stream, 0 as fast as it goes."""

    def __init__(self, rate: float = 0.0, *, max_running: int = 64, context_length: int = 8192):
        if rate < 0:
            raise InvalidRequest("echo's rate is tokens per second: 0 (full speed) or more", param="echo_rate")
        self._rate = rate
        self.caps = Caps(context_length, max_running, "exact", True, "cpu")
        self.vocabulary: Vocabulary = EchoVocabulary()
        self._sequences: dict[str, _Sequence] = {}
        self._ready: Step = []
        self._wake = asyncio.Event()
        self._closed = False

    def start(self) -> None:
        """Nothing to load."""

    def admit(self, prompt: Prompt) -> None:
        if self._closed:
            raise EngineDied("the echo engine is closed")
        if prompt.sampling.logit_bias:
            raise UnsupportedParameter("echo draws no tokens, so logit_bias has nothing to act on", param="logit_bias")
        refuse_beyond(prompt, self.caps)
        refuse_unknown([*prompt.prompt_ids, *prompt.prefix_ids], _SIZE, param="prompt")
        digest = hashlib.sha512(repr((list(prompt.prompt_ids), prompt.sampling.seed, prompt.sampling.choice)).encode())
        sequence = _Sequence(prompt, digest.digest(), len(prompt.prefix_ids))
        if sequence.at >= prompt.max_new:
            self._ready.append(Finished(prompt.id, "length"))
        else:
            self._sequences[prompt.id] = sequence
        self._wake.set()

    def abort(self, id: str) -> None:
        if self._sequences.pop(id, None):
            self._ready.append(Finished(id, "cancelled"))
            self._wake.set()

    async def steps(self) -> AsyncIterator[Step]:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._closed:
            if not self._sequences and not self._ready:
                self._wake.clear()
                await self._wake.wait()
                due = loop.time()
            due = max(due + 1 / self._rate, loop.time()) if self._rate else due
            step, self._ready = self._ready, []
            for sequence in list(self._sequences.values()):
                self._advance(sequence, step)
            yield step
            await asyncio.sleep(due - loop.time() if self._rate else 0)

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        for ids in batch:
            refuse_unknown(ids, _SIZE, param="input")
        return [_unit(hashlib.sha512(repr(list(ids)).encode()).digest()) for ids in batch]

    def running(self) -> int:
        return len(self._sequences)

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    def _advance(self, sequence: _Sequence, step: Step) -> None:
        prompt = sequence.prompt
        step.append(Tokens(prompt.id, sequence.at, [sequence.next_id()]))
        sequence.at += 1
        if sequence.at >= prompt.max_new:
            del self._sequences[prompt.id]
            step.append(Finished(prompt.id, "length"))


def _unit(digest: bytes) -> list[float]:
    values = [byte - 127.5 for byte in digest]
    norm = math.sqrt(sum(value * value for value in values))
    return [value / norm for value in values]
