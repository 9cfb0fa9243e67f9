"""Prompts from a file: ShareGPT's JSON, or a JSON object a line."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson

from queuechat.bench.lengths import Lengths
from queuechat.bench.workload import Ask
from queuechat.errors import InvalidRequest

_CHARACTERS = 4  # of a token, about: nothing here knows the model's vocabulary
_ASKERS = ("human", "user")


def asks_from(file: Path, count: int, seed: int, output_len: Lengths | None) -> list[Ask]:
    """As many of the file's prompts as wanted, drawn by seed, none twice.

    A line (or an item of one JSON list) is {"prompt": text or ids} or {"messages": [...]}, with "output_len" or
    "max_tokens"; or {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", ...}]}, whose first turn is
    asked and whose answer tells the length, at four characters a token. `output_len` wins over all of them.

    Raises:
        InvalidRequest: the file cannot be read, has a record of another form, or too few of them.
    """
    records = _records(file)
    asks = [ask for number, record in enumerate(records, 1) if (ask := _ask(record, f"{file}, record {number}"))]
    if len(asks) < count:
        raise InvalidRequest(
            f"{file} has {len(asks)} prompts and {count} are wanted, warm-up included: asked twice, a prompt would be "
            "answered from a cache. Lower --requests or --warmup",
            param="dataset",
        )
    rng = random.Random(f"{seed}/dataset")
    drawn = rng.sample(asks, count)
    return [Ask(ask.prompt, output_len.draw(rng)) for ask in drawn] if output_len else _with_lengths(drawn, file)


def _with_lengths(asks: list[Ask], file: Path) -> list[Ask]:
    if not all(ask.output_len for ask in asks):
        raise InvalidRequest(f"{file} does not tell how long all answers are: give --output-len", param="output_len")
    return asks


def _records(file: Path) -> list[Any]:
    try:
        raw = file.read_bytes()
        if raw.lstrip()[:1] == b"[":
            return list(orjson.loads(raw))
        return [orjson.loads(line) for line in raw.splitlines() if line.strip()]
    except OSError as error:
        raise InvalidRequest(f"cannot read {file}: {error.strerror}", param="dataset") from None
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{file} is neither JSON nor a JSON object a line: {error}", param="dataset") from None


def _ask(record: Any, where: str) -> Ask | None:
    """None for a conversation that does not begin with a question and its answer, of which ShareGPT has many."""
    if isinstance(record, dict):
        if "conversations" in record:
            return _first_turn(record["conversations"])
        prompt = record.get("prompt") or record.get("messages")
        length = record.get("output_len") or record.get("max_tokens") or 0
        if prompt and isinstance(prompt, str | list) and isinstance(length, int) and length >= 0:
            return Ask(prompt, length)
    raise InvalidRequest(f"{where}: it must have `prompt`, `messages` or `conversations`", param="dataset")


def _first_turn(turns: Any) -> Ask | None:
    if not isinstance(turns, list) or len(turns) < 2 or turns[0].get("from") not in _ASKERS:
        return None
    question, answer = turns[0].get("value"), turns[1].get("value")
    return Ask(question, max(1, len(answer) // _CHARACTERS)) if question and answer else None
