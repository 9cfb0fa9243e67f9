"""Embeddings: the order that a body places, and the list of vectors that comes of it."""

from __future__ import annotations

from typing import Any

from queuechat.answer import Event
from queuechat.dialects import vectors
from queuechat.dialects.order import Order, Slip, Tally
from queuechat.dialects.schemas import EmbeddingRequest
from queuechat.protocol import Chunk, Job


def order_of(body: EmbeddingRequest, slip: Slip, idem: tuple[str, str] | None = None) -> Order:
    job = Job(
        id=slip.id,
        model=slip.model,
        inputs=body.inputs,
        lane=slip.lane,
        tenant=slip.tenant,
        deadline_s=slip.deadline_s,
    )
    return Order([job], body.model, ignored=body.ignored, idem=idem)


class WholeVectors:
    """The list of vectors, in the shape that was asked for."""

    def __init__(self, asked: EmbeddingRequest):
        self._asked = asked
        self._found: list[str] = []

    def add(self, index: int, event: Event) -> None:
        if isinstance(event, Chunk):
            self._found.append(event.vector)

    def body(self, id: str, tally: Tally) -> dict[str, Any]:
        rows = [{"object": "embedding", "index": k, "embedding": self._shape(v)} for k, v in enumerate(self._found)]
        usage = {"prompt_tokens": tally.prompt_tokens, "total_tokens": tally.prompt_tokens}
        return {"object": "list", "data": rows, "model": self._asked.model, "usage": usage}

    def _shape(self, vector: str) -> str | list[float]:
        base64 = self._asked.encoding_format == "base64"
        if base64 and self._asked.dimensions is None:
            return vector
        values = vectors.floats(vector)
        if self._asked.dimensions is not None:
            values = vectors.cut(values, self._asked.dimensions)
        return vectors.pack(values) if base64 else values.tolist()
