"""The parts of an answer, in the order in which the model writes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """More of what is meant for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolStart:
    """A call begins. `index` counts the calls of one answer from 0; its arguments follow, and no other call's."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolArguments:
    """More of the JSON text of a call's arguments, as the model writes it: it may turn out not to be JSON."""

    index: int
    text: str


Part = ContentDelta | ReasoningDelta | ToolStart | ToolArguments


def joined(parts: list[Part]) -> list[Part]:
    """The same with neighbours of one kind as one."""
    out: list[Part] = []
    for part in parts:
        last = out[-1] if out else None
        if isinstance(part, ContentDelta) and isinstance(last, ContentDelta):
            out[-1] = ContentDelta(last.text + part.text)
        elif isinstance(part, ReasoningDelta) and isinstance(last, ReasoningDelta):
            out[-1] = ReasoningDelta(last.text + part.text)
        elif isinstance(part, ToolArguments) and isinstance(last, ToolArguments) and part.index == last.index:
            out[-1] = ToolArguments(part.index, last.text + part.text)
        else:
            out.append(part)
    return out
