"""POST /v1/embeddings."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api import intake
from api.answering import WholeAnswer
from api.house import house_of, ticket_of
from api.openapi import body_of, listed
from queuechat.dialects import embeddings
from queuechat.dialects.schemas import EmbeddingRequest
from queuechat.errors import InvalidRequest

router = APIRouter(tags=["embeddings"])

_EXAMPLE = {"model": "smollm2", "input": ["red", "green"]}


@router.post("/v1/embeddings", openapi_extra=body_of(EmbeddingRequest, example=_EXAMPLE), responses=listed("embedding"))
async def create_embeddings(request: Request) -> Response:
    """One vector for each input, in order."""
    return await _embed(request)


@router.post("/v1/engines/{model:path}/embeddings", openapi_extra=body_of(EmbeddingRequest))
async def create_embeddings_of_engine(request: Request, model: str) -> Response:
    """The same as older clients ask it: the path names the model."""
    return await _embed(request, model)


async def _embed(request: Request, named: str | None = None) -> Response:
    house = house_of(request)
    body, model = await intake.read(request, EmbeddingRequest, named)
    if not model.card.embeds:
        raise InvalidRequest(f"the model {body.model!r} gives no embeddings; pick another", param="model")
    slip = intake.slip_of(request, house, model, stream=False)
    order = await intake.worked(request, embeddings.order_of, body, slip, await intake.idem_of(request))
    return WholeAnswer(house, ticket_of(request), order, lambda _: embeddings.WholeVectors(body))
