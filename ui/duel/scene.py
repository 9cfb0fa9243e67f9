"""A duel as a page shows it. While it is hidden, nothing here tells the models' names."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from queuechat.battles import Choice
from ui.duel.duel import SIDES, Duel, Frames
from ui.talk import view
from ui.talk.exchange import Exchange

LETTERS = "AB"
_SAID = {
    Choice.LEFT: "You found A better",
    Choice.RIGHT: "You found B better",
    Choice.TIE: "You found both equally good",
    Choice.BOTH_BAD: "You found both bad",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What is on a page, by side where it has two. `busy`: answers are being written."""

    heads: tuple[str, str]
    bubbles: tuple[list[view.Message], list[view.Message]]
    retries: tuple[bool, bool]
    verdict: str
    begun: bool
    busy: bool
    votable: bool
    voted: bool


def scene_of(duel: Duel | None, frames: Frames | None = None, *, busy: bool = False) -> Scene:
    """The scene of a duel (None: before the first question), with the newest frames of the sides that are answering."""
    if duel is None:
        return Scene(("", ""), ([], []), (False, False), "", begun=False, busy=False, votable=False, voted=False)
    busy = busy or frames is not None
    heads = (_head(duel, 0), _head(duel, 1))
    bubbles = (_bubbles(duel, 0, frames), _bubbles(duel, 1, frames))
    retries = (not busy and 0 in duel.failed, not busy and 1 in duel.failed)
    voted = duel.choice is not None
    return Scene(heads, bubbles, retries, _verdict(duel), duel.begun, busy, duel.votable and not busy, voted)


def _bubbles(duel: Duel, side: int, frames: Frames | None) -> list[view.Message]:
    talk: Sequence[Exchange] = duel.talks[side]
    frame = (frames or {}).get(side)
    if frame is None:
        return view.messages(talk)
    return view.messages([*talk[:-1], frame.exchange], pending=frame.pending, live=frame.live)


def _head(duel: Duel, side: int) -> str:
    name = f"Model {LETTERS[side]}" if duel.hidden else f"<b>{html.escape(duel.models[side])}</b>"
    best = duel.choice is (Choice.LEFT, Choice.RIGHT)[side]
    return f'<div class="qc-head{" best" if best else ""}"><i>{LETTERS[side]}</i>{name}</div>'


def _verdict(duel: Duel) -> str:
    if duel.choice is None:
        return ""
    names = [f"{LETTERS[side]} is <b>{html.escape(duel.models[side])}</b>" for side in SIDES]
    told = f" {', '.join(names)}." if duel.anonymous else ""
    unrated = " An answer told who wrote it, so this vote does not rate the models." if duel.leaked else ""
    return f'<div class="qc-verdict" role="status">{_SAID[duel.choice]}.{told}{unrated} Thank you.</div>'
