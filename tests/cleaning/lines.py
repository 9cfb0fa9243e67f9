"""Log lines as FastChat writes them, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOON = 1_763_812_800.0  # 2025-11-22 12:00:00 UTC
QUESTION = "What is the highest mountain in the Alps?"


def state(model: str | None, *said: Any, **more: Any) -> dict[str, Any]:
    """A conversation by turns; without words, one of a question and an answer."""
    turns = said or (QUESTION, "Mont Blanc.")
    messages = [[("USER", "ASSISTANT")[k % 2], text] for k, text in enumerate(turns)]
    about = {"template_name": "vicuna_v1.1", "system_message": "", "roles": ["USER", "ASSISTANT"], "offset": 0}
    return {**about, "messages": messages, "conv_id": f"{model}-conv", "model_name": model, **more}


def vote(kind: str = "leftvote", *, left: Any = None, right: Any = None, **more: Any) -> dict[str, Any]:
    """A line about an anonymous battle of two models."""
    states = [left or state("ape"), right or state("bee")]
    return {"tstamp": NOON, "type": kind, "models": ["", ""], "states": states, "ip": "203.0.113.7", **more}


def chat(kind: str = "chat", about: Any = None, **more: Any) -> dict[str, Any]:
    """A line about one conversation."""
    spoken = about or state("ape")
    return {"tstamp": NOON, "type": kind, "model": spoken["model_name"], "state": spoken, "ip": "203.0.113.7", **more}


def log_file(folder: Path, *rows: Any, day: str = "2025-11-22") -> Path:
    """What is not a string is written as JSON, as Python writes it."""
    path = folder / f"{day}-conv.json"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path
