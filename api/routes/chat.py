"""POST /v1/chat/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api import intake
from api.answering import answer
from api.house import house_of
from api.openapi import EVENTS, body_of, shown
from api.pictures import with_pictures
from queuechat.dialects import chat
from queuechat.dialects.schemas import ChatRequest
from queuechat.dialects.style import CHAT

router = APIRouter(tags=["generation"])

_EXAMPLE = {"model": "smollm2", "messages": [{"role": "user", "content": "Name three colours."}], "max_tokens": 32}


@router.post(
    "/v1/chat/completions",
    openapi_extra=body_of(ChatRequest, example=_EXAMPLE, streams=EVENTS),
    responses=shown("chat.completion", "id", "choices", "usage"),
)
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, whole or as server-sent events."""
    body, model = await intake.read(request, ChatRequest)
    slip = intake.slip_of(request, house_of(request), model, stream=bool(body.stream))
    slip = await with_pictures(request, slip, body)
    order = await intake.worked(request, chat.order_of, body, slip, await intake.idem_of(request))
    return answer(request, order, CHAT, stream=bool(body.stream))
