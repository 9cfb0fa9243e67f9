"""POST /v1/completions."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from api import intake, sse
from api.answering import StreamedAnswer, WholeAnswer
from api.exchange import Order
from api.house import house_of, ticket_of
from api.openapi import body_of
from api.schemas import CompletionRequest
from queuechat.protocol import Job, choice_id

router = APIRouter(tags=["generation"])


@router.post("/v1/completions", openapi_extra=body_of(CompletionRequest))
async def create_completion(request: Request) -> Response:
    """Continue one or many prompts, whole or as server-sent events."""
    house, ticket = house_of(request), ticket_of(request)
    body, model = await intake.read(request, CompletionRequest)
    stream = bool(body.stream)
    pattern = Job(
        id=ticket.id,
        model=model.card.name,
        sampling=intake.sampling_of(body),
        max_tokens=body.limit,
        stop=body.stops,
        ignore_eos=bool(body.ignore_eos),
        tenant=ticket.tenant,
        deadline_s=intake.deadline_of(request, house, stream=stream),
    )
    order = Order(
        jobs=_jobs(pattern, body),
        name=body.model,
        siblings=body.choices,
        include_usage=body.include_usage,
        echo=[str(prompt) for prompt in body.prompts for _ in range(body.choices)] if body.echo else (),
        ignored=intake.ignored_of(body),
        idem=await intake.idem_of(request),
    )
    if stream:
        return StreamedAnswer(house, ticket, order, sse.COMPLETION, intake.hold_of(request, house))
    return WholeAnswer(house, ticket, order, sse.COMPLETION)


def _jobs(pattern: Job, body: CompletionRequest) -> list[Job]:
    """One job for each choice of each prompt. The noise depends on seed and choice, not on the prompt's place."""
    n = body.choices
    return [
        replace(
            pattern,
            id=choice_id(pattern.id, at * n + k),
            prompt=prompt,
            sampling=replace(pattern.sampling, choice=k),
        )
        for at, prompt in enumerate(body.prompts)
        for k in range(n)
    ]
