"""POST /v1/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api import intake
from api.answering import answer
from api.house import house_of
from api.openapi import EVENTS, body_of, shown
from queuechat.dialects import completions
from queuechat.dialects.schemas import CompletionRequest
from queuechat.dialects.style import COMPLETION

router = APIRouter(tags=["generation"])

_EXAMPLE = {"model": "smollm2", "prompt": "Three colours are", "max_tokens": 16}


@router.post(
    "/v1/completions",
    openapi_extra=body_of(CompletionRequest, example=_EXAMPLE, streams=EVENTS),
    responses=shown("text_completion", "id", "choices", "usage"),
)
async def create_completion(request: Request) -> Response:
    """Continue one or many prompts, whole or as server-sent events."""
    body, model = await intake.read(request, CompletionRequest)
    slip = intake.slip_of(request, house_of(request), model, stream=bool(body.stream))
    order = await intake.worked(request, completions.order_of, body, slip, await intake.idem_of(request))
    return answer(request, order, COMPLETION, stream=bool(body.stream))
