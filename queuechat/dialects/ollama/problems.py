"""Errors as Ollama's clients read them: one sentence."""

from __future__ import annotations

from typing import Any

from queuechat.dialects.problems import Kind


def told(kind: Kind, message: str, param: str | None, code: str, id: str) -> tuple[int, dict[str, Any]]:
    """Status and body."""
    return kind.status, {"error": message}
