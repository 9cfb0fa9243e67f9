"""OpenAI's Responses: the order that a body places, and the response and its events that come of a log."""

from queuechat.dialects.responses.asked import Asked
from queuechat.dialects.responses.assembly import Assembly, WholeResponse, assembled
from queuechat.dialects.responses.order import asked_of, order_of
from queuechat.dialects.responses.sights import Sights

__all__ = ["Asked", "Assembly", "Sights", "WholeResponse", "asked_of", "assembled", "order_of"]
