"""POST /v1/chat/completions."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from api import intake
from api.answering import answer
from api.house import house_of
from api.openapi import body_of
from api.pictures import pictures_of
from queuechat.dialects import chat
from queuechat.dialects.schemas import ChatRequest
from queuechat.dialects.style import CHAT

router = APIRouter(tags=["generation"])


@router.post("/v1/chat/completions", openapi_extra=body_of(ChatRequest))
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, whole or as server-sent events."""
    body, model = await intake.read(request, ChatRequest)
    slip = intake.slip_of(request, house_of(request), model, stream=bool(body.stream))
    slip = replace(slip, images=await pictures_of(request, body, model))
    order = chat.order_of(body, slip, await intake.idem_of(request))
    return answer(request, order, CHAT, stream=bool(body.stream))
