"""Conversations as rows: FastChat's clean_chat data, by its rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypedDict

from queuechat.cleaning.language import language_of
from queuechat.cleaning.reading import Faults, in_order, read_rows
from queuechat.cleaning.schema import ChatRow, State, VoteRow
from queuechat.cleaning.voters import Pseudonyms
from queuechat.cleaning.words import ERRORS, says_one_of


class Action(StrEnum):
    """What was done to a conversation. Of a vote, the winner's is taken."""

    CHAT = "chat"
    UPVOTE = "upvote"
    DOWNVOTE = "downvote"
    FLAG = "flag"
    LEFT = "leftvote"
    RIGHT = "rightvote"


class CleanChat(TypedDict):
    """A row of FastChat's clean_chat JSON."""

    conversation_id: str
    model: str
    conversation: list[dict[str, Any]]
    turn: int
    language: str
    user_id: str
    tstamp: float


@dataclass(slots=True)
class Tally:
    """How many lines there were, how many conversations, and why lines were dropped."""

    lines: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)


def each_chat(
    files: Sequence[Path], action: Action, tally: Tally, *, pseudonyms: Pseudonyms | None = None
) -> Iterator[CleanChat]:
    """The conversations to which this was done, each as its last line has it, in order. The files are read twice.

    Raises:
        OSError: a file cannot be read.
        Misconfigured: the language detector is not installed.
    """
    ordered, pseudonyms = in_order(files), pseudonyms or Pseudonyms()
    last = {state.conv_id: place for place, _, state, _ in _lines(ordered, action, Faults())}
    for place, row, state, model in _lines(ordered, action, tally.faults):
        tally.lines += 1
        if why := _refused(state, model) or ("" if last[state.conv_id] == place else "duplicate"):
            tally.dropped[why] += 1
            continue
        tally.kept += 1
        yield _clean(row, state, model or "", pseudonyms)


def _lines(
    files: Iterable[Path], action: Action, faults: Faults
) -> Iterator[tuple[str, ChatRow | VoteRow, State, str | None]]:
    """Place, row, conversation and model of each line."""
    types = frozenset({action.value})
    if action in (Action.LEFT, Action.RIGHT):
        for place, vote in read_rows(files, VoteRow, types, faults):
            state = vote.states[action is Action.RIGHT]
            yield place, vote, state, state.model_name
    else:
        for place, chat in read_rows(files, ChatRow, types, faults):
            yield place, chat, chat.state, chat.model


def _refused(state: State, model: str | None) -> str:
    """Why the conversation does not count, "" when it does."""
    if not state.conv_id:
        return "invalid_conv_id"
    said = [said for _, said in state.spoken]
    texts = [text for text in said if isinstance(text, str)]
    if not model or not said or len(texts) < len(said):
        return "invalid"
    return "error" if says_one_of(ERRORS, "".join(texts).lower()) else ""


def _clean(row: ChatRow | VoteRow, state: State, model: str, pseudonyms: Pseudonyms) -> CleanChat:
    conversation = state.shown()
    return {
        "conversation_id": state.conv_id or "",
        "model": model,
        "conversation": conversation,
        "turn": len(conversation) // 2,
        "language": language_of(conversation[0]["content"]),
        "user_id": pseudonyms.of(row.ip),
        "tstamp": row.tstamp,
    }
