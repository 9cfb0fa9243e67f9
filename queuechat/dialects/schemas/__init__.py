"""What a request may say: bodies, checked and refused by name."""

from queuechat.dialects.schemas.batches import BatchRequest
from queuechat.dialects.schemas.chat import ChatRequest
from queuechat.dialects.schemas.completions import CompletionRequest
from queuechat.dialects.schemas.embeddings import EmbeddingRequest
from queuechat.dialects.schemas.parse import parse
from queuechat.dialects.schemas.reading import DetokenizeRequest, TokenCheckRequest, TokenizeRequest
from queuechat.dialects.schemas.responses import ResponseRequest

__all__ = [
    "BatchRequest",
    "ChatRequest",
    "CompletionRequest",
    "DetokenizeRequest",
    "EmbeddingRequest",
    "ResponseRequest",
    "TokenCheckRequest",
    "TokenizeRequest",
    "parse",
]
