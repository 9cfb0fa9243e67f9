"""Models as Ollama lists them. What only a file could tell (size, family, quantisation) is left empty."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from queuechat.dialects.ollama.answer import timestamp
from queuechat.dialects.ollama.names import tagged
from queuechat.protocol import ModelCard

_ARCHITECTURE = "queuechat"


def row_of(name: str, card: ModelCard) -> dict[str, Any]:
    """An entry of /api/tags. The digest is that of the model's card: it changes with what is served."""
    return {
        "name": tagged(name),
        "model": tagged(name),
        "modified_at": timestamp(card.created),
        "size": 0,
        "digest": hashlib.sha256(orjson.dumps([card.name, card.source, card.engine])).hexdigest(),
        "details": details_of(card),
    }


def running_row_of(name: str, card: ModelCard) -> dict[str, Any]:
    """An entry of /api/ps."""
    row = row_of(name, card)
    del row["modified_at"]
    return row | {"size_vram": 0, "context_length": card.context_length}


def shown(card: ModelCard) -> dict[str, Any]:
    """The answer of /api/show."""
    return {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "modified_at": timestamp(card.created),
        "details": details_of(card),
        "model_info": {
            "general.architecture": _ARCHITECTURE,
            "general.basename": card.name,
            f"{_ARCHITECTURE}.context_length": card.context_length,
        },
        "capabilities": capabilities_of(card),
    }


def details_of(card: ModelCard) -> dict[str, Any]:
    form = "gguf" if card.engine == "llamacpp" else ""
    return {
        "parent_model": "",
        "format": form,
        "family": "",
        "families": [],
        "parameter_size": "",
        "quantization_level": "",
    }


def capabilities_of(card: ModelCard) -> list[str]:
    told = {"tools": card.tool_format, "vision": card.vision, "thinking": card.reasoning, "embedding": card.embeds}
    return ["completion", *(name for name, able in told.items() if able)]
