"""A conversation as a file that others can read."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from ui import wording
from ui.talk.exchange import Exchange, history


def as_json(conversation: Sequence[Exchange]) -> str:
    """The messages in OpenAI's form, as a model has read and written them."""
    messages = history(conversation, "")
    if conversation and conversation[-1].answer:
        messages.append({"role": "assistant", "content": conversation[-1].answer})
    return orjson.dumps({"messages": messages}, option=orjson.OPT_INDENT_2).decode()


def as_markdown(conversation: Sequence[Exchange]) -> str:
    """For people: who said what. Images are named, not held."""
    return "\n\n".join(part for exchange in conversation for part in _parts(exchange)) + "\n"


def _parts(exchange: Exchange) -> list[str]:
    pictures = [f"*({wording.count(len(exchange.images), 'image')})*"] if exchange.images else []
    asked = ["## You", *pictures, *([exchange.read] if exchange.read else [])]
    if not exchange.answer:
        return asked
    thoughts = [f"<details><summary>Thoughts</summary>\n\n{exchange.thoughts}\n\n</details>"]
    return [*asked, f"## {exchange.model or 'Answer'}", *(thoughts if exchange.thoughts else []), exchange.answer]
