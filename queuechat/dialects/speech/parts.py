"""The parts of an answer, in the order in which the model writes them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """More of what is meant for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta(ContentDelta):
    """More of the words in which the model declines, where a provider tells them apart; else they are content."""


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
    for _, run in groupby(parts, key=_kind):
        same = list(run)
        texts = [part.text for part in same if not isinstance(part, ToolStart)]
        out += [_with(same[0], "".join(texts))] if len(texts) > 1 else same
    return out


def _kind(part: Part) -> tuple[type[Part], int]:
    return type(part), -1 if isinstance(part, ContentDelta | ReasoningDelta) else part.index


def _with(part: Part, text: str) -> Part:
    match part:
        case RefusalDelta():
            return RefusalDelta(text)
        case ContentDelta():
            return ContentDelta(text)
        case ReasoningDelta():
            return ReasoningDelta(text)
        case _:
            return ToolArguments(part.index, text)
