"""Chat completions: the order that a body places."""

from __future__ import annotations

from queuechat.client import with_choices
from queuechat.dialects.order import Order, Slip
from queuechat.dialects.schemas import ChatRequest
from queuechat.protocol import Job, choice_id


def order_of(body: ChatRequest, slip: Slip, idem: tuple[str, str] | None = None) -> Order:
    first = Job(
        id=slip.id,
        model=slip.model,
        messages=body.turns(),
        sampling=body.sampling(slip.seed),
        max_tokens=body.limit,
        stop=body.stops,
        ignore_eos=bool(body.ignore_eos),
        template_args=body.chat_template_kwargs or {},
        lane=slip.lane,
        tenant=slip.tenant,
        deadline_s=slip.deadline_s,
    )
    return Order(
        jobs=with_choices(first, body.choices, [choice_id(slip.id, k) for k in range(body.choices)]),
        name=body.model,
        siblings=body.choices,
        include_usage=body.include_usage,
        ignored=body.ignored,
        idem=idem,
    )
