"""Anthropic's Messages API: a chat in content blocks."""

from queuechat.dialects.anthropic.answer import WholeMessage
from queuechat.dialects.anthropic.order import as_chat, order_of
from queuechat.dialects.anthropic.stream import PING, MessageStream

__all__ = ["PING", "MessageStream", "WholeMessage", "as_chat", "order_of"]
