"""POST /v1/chat/completions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api import intake, sse
from api.answering import StreamedAnswer, WholeAnswer
from api.exchange import Order
from api.house import house_of, ticket_of
from api.openapi import body_of
from api.schemas import ChatRequest
from queuechat.client import with_choices
from queuechat.protocol import Job, choice_id

router = APIRouter(tags=["generation"])


@router.post("/v1/chat/completions", openapi_extra=body_of(ChatRequest))
async def create_chat_completion(request: Request) -> Response:
    """Answer a conversation, whole or as server-sent events."""
    house, ticket = house_of(request), ticket_of(request)
    body, model = await intake.read(request, ChatRequest)
    stream = bool(body.stream)
    first = Job(
        id=ticket.id,
        model=model.card.name,
        messages=body.turns(),
        sampling=intake.sampling_of(body),
        max_tokens=body.limit,
        stop=body.stops,
        ignore_eos=bool(body.ignore_eos),
        template_args=body.chat_template_kwargs or {},
        tenant=ticket.tenant,
        deadline_s=intake.deadline_of(request, house, stream=stream),
    )
    order = Order(
        jobs=with_choices(first, body.choices, [choice_id(ticket.id, k) for k in range(body.choices)]),
        name=body.model,
        siblings=body.choices,
        include_usage=body.include_usage,
        ignored=intake.ignored_of(body),
        idem=await intake.idem_of(request),
    )
    if stream:
        return StreamedAnswer(house, ticket, order, sse.CHAT, intake.hold_of(request, house))
    return WholeAnswer(house, ticket, order, sse.CHAT)
