"""Votes that count, as rows for ratings: FastChat's clean_battle data, by its rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from queuechat.battles import Choice
from queuechat.cleaning.language import language_of
from queuechat.cleaning.reading import Faults, in_order, read_rows
from queuechat.cleaning.schema import VOTES, State, VoteRow, text_of
from queuechat.cleaning.style import metadata, with_tokens
from queuechat.cleaning.voters import Pseudonyms
from queuechat.cleaning.words import ERRORS, IDENTITIES, UNFINISHED, names_one_of, says_one_of

WINNERS = {
    Choice.LEFT: "model_a",
    Choice.RIGHT: "model_b",
    Choice.TIE: "tie",
    Choice.BOTH_BAD: "tie (bothbad)",
}


class Mode(StrEnum):
    """How much of a battle a row tells."""

    SIMPLE = "simple"  #: no conversation
    CONV_RELEASE = "conv_release"  #: all, of anonymous battles only


class CleanBattle(TypedDict):
    """A row of FastChat's clean_battle JSON. `language` is that of the first question; tokens are estimated."""

    question_id: NotRequired[str]
    model_a: str
    model_b: str
    winner: str
    judge: str
    conversation_a: NotRequired[list[dict[str, Any]]]
    conversation_b: NotRequired[list[dict[str, Any]]]
    turn: int
    anony: bool
    language: str
    tstamp: float
    conv_metadata: dict[str, Any]


@dataclass(slots=True)
class Tally:
    """How many votes there were, how many were kept, and why the others were not."""

    votes: int = 0
    kept: int = 0
    anonymous: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)


def clean_battles(
    files: Iterable[Path],
    tally: Tally | None = None,
    *,
    mode: Mode = Mode.SIMPLE,
    exclude: frozenset[str] = frozenset(),
    banned: frozenset[str] = frozenset(),
    salt: bytes | None = None,
) -> list[CleanBattle]:
    """As `each_battle`, all at once."""
    rows = each_battle(files, tally or Tally(), mode=mode, exclude=exclude, banned=banned, salt=salt)
    return list(rows)


def each_battle(
    files: Iterable[Path],
    tally: Tally,
    *,
    mode: Mode = Mode.SIMPLE,
    exclude: frozenset[str] = frozenset(),
    banned: frozenset[str] = frozenset(),
    salt: bytes | None = None,
) -> Iterator[CleanBattle]:
    """The votes of these files that count, oldest file first; a battle's vote once, however many lines tell of it.

    Args:
        tally: counts what is read, and why votes are dropped.
        exclude: models whose battles do not count.
        banned: voters, as the files name them, whose votes do not count.
        salt: keeps the judges' pseudonyms from run to run; by default they are new each time.

    Raises:
        OSError: a file cannot be read.
        Misconfigured: the language detector is not installed.
    """
    pseudonyms, seen = Pseudonyms(salt), set[Any]()
    for _, row in read_rows(in_order(files), VoteRow, VOTES, tally.faults):
        tally.votes += 1
        models = _models(row)
        why = _refused(row, models, exclude, banned) or _unwanted(row, mode, seen)
        if why or models is None:
            tally.dropped[why] += 1
            continue
        seen.add(_identity(row))
        tally.kept += 1
        tally.anonymous += _anonymous(row)
        battle = _clean(row, models, pseudonyms)
        yield battle if mode is Mode.CONV_RELEASE else _without_conversations(battle)


def _refused(row: VoteRow, models: tuple[str, str] | None, exclude: frozenset[str], banned: frozenset[str]) -> str:
    """Why the vote does not count, "" when it does."""
    if models is None or not all(state.spoken for state in row.states):
        return "invalid"
    if why := _spoilt(row, models):
        return why
    if not exclude.isdisjoint(models):
        return "exclude_model"
    return "banned" if row.ip in banned else ""


def _unwanted(row: VoteRow, mode: Mode, seen: Container[Any]) -> str:
    """Why a vote that would count is left out, "" when it is not."""
    if mode is Mode.CONV_RELEASE and not _anonymous(row):
        return "named"
    return "duplicate" if _identity(row) in seen else ""


def _spoilt(row: VoteRow, models: tuple[str, str]) -> str:
    """What was said that makes a vote worthless, by FastChat's names for it; "" when nothing was."""
    said = [text_of(said) for state in row.states for _, said in state.spoken]
    text = "".join(said).lower()
    if not all(said):
        return "none_msg"
    if row.leaked or says_one_of(IDENTITIES, text) or names_one_of(models, text):
        return "leaked_identity"
    if says_one_of(ERRORS, text):
        return "error"
    unanswered = any(len(state.spoken) % 2 for state in row.states)
    return "unfinished" if unanswered or says_one_of(UNFINISHED, text) else ""


def _identity(row: VoteRow) -> Any:
    """What a battle is told from others by. FastChat's lines have no id of it: there, equal lines are one vote."""
    return row.battle_id or (row.tstamp, row.type, *(state.conv_id for state in row.states))


def _anonymous(row: VoteRow) -> bool:
    return row.models[0] in ("", "Model A")


def _models(row: VoteRow) -> tuple[str, str] | None:
    """Who fought; None when the line does not say, or contradicts itself."""
    first, second = (_plain(name) for name in row.models)
    hidden = tuple(state.model_name for state in row.states)
    if first is None or second is None or (not first) != (not second):
        return None
    if _anonymous(row):
        return (hidden[0], hidden[1]) if hidden[0] and hidden[1] else None
    if hidden[0] and hidden[1] and (hidden[0] not in first or hidden[1] not in second):
        return None
    return first, second


def _plain(name: str | None) -> str | None:
    """Without the heading that FastChat's first releases put around it."""
    if name and name.startswith("<h3>"):
        return name[name.find(": ") + 2 : -len("</h3>\n")]
    return name


def _clean(row: VoteRow, models: tuple[str, str], pseudonyms: Pseudonyms) -> CleanBattle:
    a, b = (with_tokens(state.shown()) for state in row.states)
    return {
        "question_id": row.states[0].conv_id or "",
        "model_a": models[0],
        "model_b": models[1],
        "winner": WINNERS[Choice(row.type)],
        "judge": f"arena_user_{pseudonyms.of(row.ip)}",
        "conversation_a": a,
        "conversation_b": b,
        "turn": len(a) // 2,
        "anony": _anonymous(row),
        "language": language_of(_first_words(row.states[0])),
        "tstamp": row.tstamp,
        "conv_metadata": metadata(a, b),
    }


def _first_words(state: State) -> str:
    return text_of(state.spoken[0][1])


def _without_conversations(battle: CleanBattle) -> CleanBattle:
    del battle["question_id"], battle["conversation_a"], battle["conversation_b"]
    return battle
