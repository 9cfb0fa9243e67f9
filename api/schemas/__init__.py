"""What a request may say: bodies, checked and refused by name."""

from api.schemas.chat import ChatRequest
from api.schemas.completions import CompletionRequest
from api.schemas.embeddings import EmbeddingRequest
from api.schemas.parse import parse

__all__ = ["ChatRequest", "CompletionRequest", "EmbeddingRequest", "parse"]
