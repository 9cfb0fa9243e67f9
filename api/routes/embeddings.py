"""POST /v1/embeddings."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send

from api import intake, vectors
from api.answering import LATE_S, headers_of
from api.drain import ClientGone
from api.exchange import Exchange, Order
from api.house import House, Ticket, house_of, ticket_of
from api.openapi import body_of
from api.schemas import EmbeddingRequest
from queuechat.errors import InvalidRequest
from queuechat.protocol import Chunk, Job

router = APIRouter(tags=["embeddings"])


@router.post("/v1/embeddings", openapi_extra=body_of(EmbeddingRequest))
async def create_embeddings(request: Request) -> Response:
    """One vector for each input, in order."""
    house, ticket = house_of(request), ticket_of(request)
    body, model = await intake.read(request, EmbeddingRequest)
    if not model.card.embeds:
        raise InvalidRequest(f"the model {body.model!r} gives no embeddings; pick another", param="model")
    job = Job(
        id=ticket.id,
        model=model.card.name,
        inputs=body.inputs,
        tenant=ticket.tenant,
        deadline_s=intake.deadline_of(request, house, stream=False),
    )
    order = Order([job], body.model, ignored=intake.ignored_of(body), idem=await intake.idem_of(request))
    return Embeddings(house, ticket, order, body)


class Embeddings(Response):
    """The list of vectors, once all have come."""

    def __init__(self, house: House, ticket: Ticket, order: Order, body: EmbeddingRequest):
        super().__init__()
        self._house = house
        self._ticket = ticket
        self._order = order
        self._asked = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(ClientGone):
            await self._house.drain.guard(self._run(scope, receive, send), receive, self._order.deadline_s + LATE_S)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        found: list[str] = []
        async with Exchange(self._house, self._order, self._ticket) as exchange:
            while events := await exchange.take():
                found += [event.vector for _, event in events if isinstance(event, Chunk)]
        prompt_tokens = sum(exchange.tally.prompts.values())
        body = {
            "object": "list",
            "data": [self._row(index, vector) for index, vector in enumerate(found)],
            "model": self._order.name,
            "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
        }
        response = Response(orjson.dumps(body), headers=headers_of(self._ticket, self._order, exchange))
        response.headers["content-type"] = "application/json"
        await response(scope, receive, send)

    def _row(self, index: int, vector: str) -> dict[str, Any]:
        return {"object": "embedding", "index": index, "embedding": self._shape(vector)}

    def _shape(self, vector: str) -> str | list[float]:
        base64 = self._asked.encoding_format == "base64"
        if base64 and self._asked.dimensions is None:
            return vector
        values = vectors.floats(vector)
        if self._asked.dimensions is not None:
            values = vectors.cut(values, self._asked.dimensions)
        return vectors.pack(values) if base64 else values.tolist()
