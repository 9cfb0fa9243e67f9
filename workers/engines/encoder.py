"""The engine of models that only make embeddings: encoders, which have no next token."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from queuechat.errors import ContextLengthExceeded, EngineDied, InvalidRequest, QueuechatError
from workers.engines.base import Caps, Prompt, Step, Vocabulary, refuse_unknown
from workers.engines.hf_encoder import Encoder, encoded, load_encoder

EMBEDS_ONLY = "this model makes embeddings and writes nothing: use /v1/embeddings, or another model"


class EncoderEngine:
    """See `workers.engines.base.Engine`. `source` is a folder or a Hub id."""

    options: frozenset[str] = frozenset()
    caps: Caps
    vocabulary: Vocabulary

    def __init__(
        self,
        source: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_running: int | None = None,
        revision: str | None = None,
        max_context: int | None = None,
        threads: int | None = None,
    ):
        self._load: Callable[[], Encoder] = partial(
            load_encoder, source, device=device, dtype=dtype, revision=revision, threads=threads
        )
        self._max_running, self._max_context = max_running or 16, max_context
        self._encoder: Encoder | None = None
        self._embedding = threading.Lock()
        self._closed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        encoder = self._load()
        context = min(self._max_context or encoder.context_length, encoder.context_length)
        self.caps = Caps(context, self._max_running, "exact", True, encoder.device, generates=False)
        self.vocabulary = encoder.vocabulary
        encoded(encoder, [[0]])
        self._encoder = encoder

    def admit(self, prompt: Prompt) -> None:
        raise InvalidRequest(EMBEDS_ONLY, param="model")

    def abort(self, id: str) -> None:
        """There is nothing to end."""

    async def steps(self) -> AsyncIterator[Step]:
        self._loop = asyncio.get_running_loop()
        if self._encoder is not None:
            await self._closed.wait()
        return
        yield  # which makes this an iterator

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        with self._embedding:
            if self._encoder is None:
                raise EngineDied("the encoder does not run")
            for ids in batch:
                refuse_unknown(ids, len(self.vocabulary), param="input")
                if not 0 < len(ids) <= self.caps.context_length:
                    raise ContextLengthExceeded(
                        f"an input has 1 to {self.caps.context_length} tokens, not {len(ids)}", param="input"
                    )
            vectors = encoded(self._encoder, batch)
        if not all(math.isfinite(sum(vector)) for vector in vectors):
            raise QueuechatError("the model computes NaN or infinity for this input: try another dtype")
        return vectors

    def running(self) -> int:
        return 0

    def close(self) -> None:
        with self._embedding:
            self._encoder = None
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._closed.set)
