"""How the objects of chats and completions differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Style:
    """`object` and `whole` name a part of a stream and the whole answer."""

    prefix: str
    object: str
    whole: str
    chat: bool

    def text(self, value: str) -> dict[str, Any]:
        """The part of a streamed choice that holds new text."""
        return {"delta": {"content": value}} if self.chat else {"text": value}

    def last(self) -> dict[str, Any]:
        """The same when there is none any more."""
        return {"delta": {}} if self.chat else {"text": ""}


CHAT = Style("chatcmpl-", "chat.completion.chunk", "chat.completion", True)
COMPLETION = Style("cmpl-", "text_completion", "text_completion", False)
