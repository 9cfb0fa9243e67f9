"""Ollama's API: a chat, a prompt or inputs in, lines of JSON out."""

from queuechat.dialects.ollama.answer import Lines, WholeEmbeddings, WholeLine, loaded
from queuechat.dialects.ollama.order import as_openai, embedding_order, order_of

__all__ = ["Lines", "WholeEmbeddings", "WholeLine", "as_openai", "embedding_order", "loaded", "order_of"]
