"""The items of a response's output while they are written: how each begins, grows and ends in a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from queuechat.dialects.message import likelihoods
from queuechat.protocol import Logprob

Told = tuple[str, dict[str, Any]]  # type of an event and its fields


class Item(Protocol):
    """One item. `status` is in_progress, completed or incomplete."""

    place: dict[str, Any]  #: `item_id` and `output_index`, which its events carry

    def shown(self, status: str) -> dict[str, Any]: ...

    def begin(self) -> list[Told]:
        """What is told between its `output_item.added` and its first delta."""

    def end(self) -> list[Told]:
        """What is told between its last delta and its `output_item.done`."""


def _place(prefix: str, id: str, index: int) -> dict[str, Any]:
    return {"item_id": f"{prefix}_{id}_{index}", "output_index": index}


class _Text:
    """Of one content part."""

    def __init__(self, prefix: str, id: str, index: int):
        self.place = _place(prefix, id, index)
        self._here = self.place | {"content_index": 0}
        self._texts: list[str] = []

    @property
    def _text(self) -> str:
        return "".join(self._texts)


class Message(_Text):
    def __init__(self, id: str, index: int):
        super().__init__("msg", id, index)
        self._logprobs: list[dict[str, Any]] = []

    def begin(self) -> list[Told]:
        return [("response.content_part.added", self._here | {"part": _said("", [])})]

    def add(self, text: str, logprobs: Sequence[Logprob]) -> Told:
        self._texts.append(text)
        fresh = self.know(logprobs)
        return "response.output_text.delta", self._here | {"delta": text, "logprobs": fresh}

    def know(self, logprobs: Sequence[Logprob]) -> list[dict[str, Any]]:
        """Note those of tokens whose text came before, or comes with the next delta."""
        fresh: list[dict[str, Any]] = likelihoods(logprobs)["content"]
        self._logprobs += fresh
        return fresh

    def end(self) -> list[Told]:
        part = _said(self._text, self._logprobs)
        done = self._here | {"text": self._text, "logprobs": self._logprobs}
        return [("response.output_text.done", done), ("response.content_part.done", self._here | {"part": part})]

    def shown(self, status: str) -> dict[str, Any]:
        begun = status != "in_progress"
        content = [_said(self._text, self._logprobs)] if begun else []
        return {
            "id": self.place["item_id"],
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }


class Thought(_Text):
    def __init__(self, id: str, index: int):
        super().__init__("rs", id, index)

    def begin(self) -> list[Told]:
        return [("response.content_part.added", self._here | {"part": _thought("")})]

    def add(self, text: str) -> Told:
        self._texts.append(text)
        return "response.reasoning_text.delta", self._here | {"delta": text}

    def end(self) -> list[Told]:
        return [
            ("response.reasoning_text.done", self._here | {"text": self._text}),
            ("response.content_part.done", self._here | {"part": _thought(self._text)}),
        ]

    def shown(self, status: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [_thought(self._text)]
        body = {"id": self.place["item_id"], "type": "reasoning", "summary": [], "content": content}
        return body | {"encrypted_content": None, "status": status}


class Call:
    def __init__(self, id: str, index: int, call_id: str, name: str):
        self.place = _place("fc", id, index)
        self._call_id, self._name = call_id, name
        self._arguments: list[str] = []

    def begin(self) -> list[Told]:
        return []

    def add(self, text: str) -> Told:
        self._arguments.append(text)
        return "response.function_call_arguments.delta", self.place | {"delta": text}

    def end(self) -> list[Told]:
        done = {"name": self._name, "arguments": "".join(self._arguments)}
        return [("response.function_call_arguments.done", self.place | done)]

    def shown(self, status: str) -> dict[str, Any]:
        return {
            "id": self.place["item_id"],
            "type": "function_call",
            "call_id": self._call_id,
            "name": self._name,
            "arguments": "" if status == "in_progress" else "".join(self._arguments),
            "status": status,
        }


def _said(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def _thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning_text", "text": text}
