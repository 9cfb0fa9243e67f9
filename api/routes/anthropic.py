"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's API."""

from __future__ import annotations

import functools
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from api import intake
from api.answering import StreamedAnswer, WholeAnswer
from api.house import house_of, ticket_of
from api.named import NamedFrames
from api.openapi import EVENTS, body_of
from api.pictures import with_pictures
from api.reading import ReadAnswer
from queuechat.dialects.anthropic import WholeMessage, as_chat, order_of
from queuechat.dialects.reading import reading_of
from queuechat.dialects.schemas.anthropic import MessagesRequest, PromptRequest

router = APIRouter(tags=["Anthropic"])


@router.post("/v1/messages", openapi_extra=body_of(MessagesRequest, streams=EVENTS))
async def create_message(request: Request) -> Response:
    """Answer a conversation, whole or as named server-sent events."""
    house, ticket = house_of(request), ticket_of(request)
    body, model = await intake.read(request, MessagesRequest)
    asked = await intake.worked(request, as_chat, body)
    slip = intake.slip_of(request, house, model, stream=bool(body.stream))
    slip = await with_pictures(request, slip, asked)
    order = await intake.worked(request, order_of, body, asked, slip, await intake.idem_of(request))
    if not body.stream:
        return WholeAnswer(house, ticket, order, functools.partial(WholeMessage, order))
    opening = functools.partial(NamedFrames, order)
    return StreamedAnswer(house, ticket, order, opening, intake.hold_of(request, house))


@router.post("/v1/messages/count_tokens", openapi_extra=body_of(PromptRequest, keyed=False))
async def count_tokens(request: Request) -> Response:
    """How many tokens a conversation has, as the model's template writes it."""
    body, model = await intake.read(request, PromptRequest)
    asked = await intake.worked(request, as_chat, body)
    slip = await with_pictures(request, intake.slip_of(request, house_of(request), model, stream=False), asked)
    order = await intake.worked(request, order_of, body, asked, slip)
    return ReadAnswer(
        request,
        [replace(order, jobs=[reading_of(order.jobs[0])])],
        lambda reads: {"input_tokens": reads[0].count},
    )
