"""Ollama's API: a chat, a prompt or inputs in, lines of JSON out."""

from queuechat.dialects.ollama.answer import Lines, WholeEmbeddings, WholeLine, loaded
from queuechat.dialects.ollama.order import chat_order, embedding_order, prompt_order

__all__ = ["Lines", "WholeEmbeddings", "WholeLine", "chat_order", "embedding_order", "loaded", "prompt_order"]
