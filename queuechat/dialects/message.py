"""The parts of an answer as OpenAI's chat completions show them, streamed and whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from queuechat.dialects.speech import ContentDelta, Part, ReasoningDelta, RefusalDelta, ToolStart
from queuechat.protocol import Logprob, Reason

_UNKNOWN = -9999.0  # what OpenAI says of a token that is too unlikely to be told


@dataclass(frozen=True, slots=True)
class Showing:
    """`reasoning` is the field that thoughts are in; `legacy` shows a call as `function_call`."""

    reasoning: str = "reasoning_content"
    legacy: bool = False
    logprobs: bool = False

    def delta(self, part: Part) -> dict[str, Any]:
        """One part in a stream. What a call is called is said once, then only its arguments."""
        if isinstance(part, RefusalDelta):
            return {"refusal": part.text}
        if isinstance(part, ContentDelta):
            return {"content": part.text}
        if isinstance(part, ReasoningDelta):
            return {self.reasoning: part.text}
        called = {"name": part.name, "arguments": ""} if isinstance(part, ToolStart) else {"arguments": part.text}
        if self.legacy:
            return {"function_call": called}
        names = {"id": part.id, "type": "function"} if isinstance(part, ToolStart) else {}
        return {"tool_calls": [{"index": part.index, **names, "function": called}]}

    def reason(self, reason: Reason, *, called: bool) -> str:
        """`finish_reason`: an answer that was cut short does not wait for the result of a call."""
        if called and reason is Reason.STOP:
            return "function_call" if self.legacy else "tool_calls"
        return reason.value


class Message:
    """A whole message, from its parts."""

    def __init__(self, showing: Showing):
        self._showing = showing
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[tuple[ToolStart, list[str]]] = []

    def add(self, parts: Sequence[Part]) -> None:
        for part in parts:
            if isinstance(part, RefusalDelta):
                self._refusal.append(part.text)
            elif isinstance(part, ContentDelta):
                self._content.append(part.text)
            elif isinstance(part, ReasoningDelta):
                self._thoughts.append(part.text)
            elif isinstance(part, ToolStart):
                self._calls.append((part, []))
            else:
                self._calls[part.index][1].append(part.text)

    @property
    def content(self) -> str:
        return "".join(self._content)

    @property
    def called(self) -> bool:
        return bool(self._calls)

    def body(self) -> dict[str, Any]:
        """The content is null when there are only calls, or a refusal."""
        content = self.content or (None if self._calls or self._refusal else "")
        refusal = "".join(self._refusal) or None
        body: dict[str, Any] = {"role": "assistant", "content": content, "refusal": refusal}
        if self._thoughts:
            body[self._showing.reasoning] = "".join(self._thoughts)
        calls = [
            {"id": start.id, "type": "function", "function": {"name": start.name, "arguments": "".join(arguments)}}
            for start, arguments in self._calls
        ]
        if calls:
            body |= {"function_call": calls[0]["function"]} if self._showing.legacy else {"tool_calls": calls}
        return body


def likelihoods(logprobs: Sequence[Logprob]) -> dict[str, Any]:
    """The `logprobs` of a choice: one entry for each token, thoughts and calls included."""
    return {"content": [_entry(one) for one in logprobs], "refusal": None}


def _entry(one: Logprob) -> dict[str, Any]:
    return _token(one.token, one.logprob) | {"top_logprobs": [_token(token, value) for token, value in one.top]}


def _token(token: bytes, logprob: float | None) -> dict[str, Any]:
    told = _UNKNOWN if logprob is None else logprob
    return {"token": token.decode("utf-8", "replace"), "bytes": list(token), "logprob": told}
