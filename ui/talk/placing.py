"""The order that a conversation places: the same that the API makes of the same messages."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

from queuechat.dialects.chat import order_of
from queuechat.dialects.order import Order, Slip
from queuechat.dialects.pictures import Limits, held
from queuechat.dialects.schemas.chat import ChatRequest
from queuechat.dialects.schemas.parse import checked
from queuechat.errors import UnsupportedParameter
from queuechat.protocol import ModelCard, new_id
from ui import wording
from ui.desk import Desk
from ui.talk.exchange import Exchange, Options, history


async def place(desk: Desk, conversation: Sequence[Exchange], options: Options) -> Order:
    """The order that answers the last question.

    Raises:
        ModelNotFound, NoWorker: nobody serves the model.
        UnsupportedParameter: there are images, and the model sees none.
        InvalidRequest: an option is out of range, or the images are over a limit.
    """
    card = (await desk.roster.resolve(options.model)).card
    if not any(exchange.images for exchange in conversation):
        return order_for(conversation, options, card, deadline_s=desk.deadline_s)
    if not card.vision:
        raise UnsupportedParameter(wording.blind(card.name, desk.board.seers), param="images")
    return await asyncio.to_thread(
        order_for, conversation, options, card, deadline_s=desk.deadline_s, limits=desk.limits
    )


def order_for(
    conversation: Sequence[Exchange],
    options: Options,
    card: ModelCard,
    *,
    deadline_s: float,
    limits: Limits = Limits(),  # noqa: B008 - a frozen value
) -> Order:
    """The order to the model of that card.

    Raises:
        UnsupportedParameter: there are images, and it sees none.
        InvalidRequest: an option is out of range, or the images are over a limit.
    """
    body = checked(_body(conversation, options, card.name), ChatRequest)
    slip = Slip(new_id(), card.name, deadline_s, seed=secrets.randbits(63), card=card, images=held(body, limits))
    return order_of(body, slip)


def _body(conversation: Sequence[Exchange], options: Options, model: str) -> dict[str, Any]:
    """As a client of the API would send it. What is set to no effect is left out: it was not asked for."""
    asked = {
        "temperature": options.temperature,
        "top_p": options.top_p if options.top_p != 1 else None,
        "top_k": options.top_k or None,
        "max_tokens": options.max_tokens,
        "seed": options.seed,
        "stop": [line for line in options.stop.splitlines() if line] or None,
    }
    set_ = {name: value for name, value in asked.items() if value is not None}
    return {"model": model, "messages": history(conversation, options.system), **set_}
