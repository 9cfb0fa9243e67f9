"""Exchanges as the messages that a Gradio chatbot shows. All text that is not Markdown by design is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from typing import Any

from ui import wording
from ui.talk.exchange import Exchange

_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})|(\$\$)", re.MULTILINE)
_PIECE = 1500  # characters
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_SIGN = re.compile(r"[^\w -]|_")
_TICKED = re.compile(r"`([^`]+)`")

#: What a chatbot takes for formulas. A single dollar is money.
LATEX = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
]

Message = dict[str, Any]


def messages(conversation: Sequence[Exchange], *, pending: str = "", live: str = "") -> list[Message]:
    """All bubbles. `pending` stands where the last answer will be, `live` under one that is being written."""
    shown: list[Message] = []
    for exchange in conversation:
        shown += [*_asked(exchange), *_said(exchange, growing=bool(live) and exchange is conversation[-1])]
    if pending:
        shown.append(_bubble("assistant", _line("qc-wait", pending)))
    if live:
        shown.append(_bubble("assistant", _line("qc-foot qc-live", live)))
    return shown


def _asked(exchange: Exchange) -> list[Message]:
    """What was attached, and the question."""
    shown = [_bubble("user", _attachments(exchange))] if exchange.images or exchange.files else []
    return [*shown, _bubble("user", question(exchange.question))] if exchange.question else shown


def _attachments(exchange: Exchange) -> str:
    pictures = [f'<img class="qc-picture" src="{html.escape(url)}" alt="Attached image">' for url in exchange.images]
    chips = [
        f'<span class="qc-file"><b>{_shy(file.name)}</b> {wording.size(file.size)}</span>' for file in exchange.files
    ]
    return f'<div class="qc-attached">{"".join(pictures + chips)}</div>'


def _said(exchange: Exchange, *, growing: bool = False) -> list[Message]:
    folded = not growing or bool(exchange.answer)
    parts = [
        *(pieces(exchange.answer) if growing else [exchange.answer]),
        _line("qc-note", exchange.notice) if exchange.notice else "",
        _line("qc-foot", exchange.footer) if exchange.footer else "",
    ]
    thoughts = [_thoughts(exchange.thoughts, done=folded)] if exchange.thoughts else []
    return [*thoughts, *(_bubble("assistant", part) for part in parts if part)]


def pieces(text: str) -> list[str]:
    """Markdown cut at blank lines between blocks. A page draws a message anew whenever it has grown: of a long answer
    that is to be its last piece only."""
    done: list[str] = []
    current: list[str] = []
    for block in _blocks(text):
        if sum(map(len, current)) >= _PIECE and not block.startswith((" ", "\t")):
            done.append("\n\n".join(current))
            current = []
        current.append(block)
    return [*done, "\n\n".join(current)]


def _blocks(text: str) -> list[str]:
    """What stands between blank lines; a fence or a formula is one block with all that is in it."""
    blocks: list[str] = []
    fence = ""
    for part in text.split("\n\n"):
        if fence:
            blocks[-1] += f"\n\n{part}"
        else:
            blocks.append(part)
        for mark in map("".join, _FENCE.findall(part)):
            fence = mark if not fence else "" if mark.startswith(fence) else fence
    return blocks


def _thoughts(text: str, *, done: bool) -> Message:
    """Folded once they are over."""
    return _bubble("assistant", text) | {"metadata": {"title": "Thoughts", "status": "done" if done else "pending"}}


def _bubble(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def question(text: str) -> str:
    """What somebody typed: Markdown is fine, but tags and entities are shown as they were meant, not obeyed."""
    return _outside_code(text, lambda part: _TAG.sub("&lt;", _ENTITY.sub("&amp;", part)))


def typed(shown: str) -> str:
    """What somebody typed, from what `question` made of it."""
    return _outside_code(shown, lambda part: part.replace("&lt;", "<").replace("&amp;", "&"))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    return "".join(part if index % 2 else change(part) for index, part in enumerate(_CODE.split(text)))


def places(conversation: Sequence[Exchange]) -> list[tuple[int, bool]]:
    """Of each message that is shown: the place of its exchange, and whether it is the question."""
    found: list[tuple[int, bool]] = []
    for place, exchange in enumerate(conversation):
        asked, said = len(_asked(exchange)), len(_said(exchange))
        found += [(place, number == asked - 1) for number in range(asked)] + [(place, False)] * said
    return found


def place_of(conversation: Sequence[Exchange], index: Any, *, question: bool = False) -> int | None:
    """The place of the exchange that the message of an index belongs to; None when there is none, or when it is to be
    a question and is not."""
    found, number = places(conversation), index[0] if isinstance(index, list | tuple) else index
    if not isinstance(number, int) or not 0 <= number < len(found) or (question and not found[number][1]):
        return None
    return found[number][0]


def _shy(text: str) -> str:
    """In one line, with nothing that HTML or Markdown would make something of."""
    return _SIGN.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))


def _line(kind: str, text: str) -> str:
    return f'<div class="{kind}">{_ticks(text)}</div>'


def _ticks(text: str) -> str:
    """Escaped text in one line, with backticked parts as code."""
    return _TICKED.sub(r"<code>\1</code>", " ".join(html.escape(text).split()))


def status(text: str, *, good: bool) -> str:
    """The header's live line with its dot; a phone shows only how busy the workers are."""
    parts = _ticks(text).split(" · ")
    wide, rest = " · ".join(parts[:-2]), " · ".join(parts[-2:])
    line = f'<span class="wide">{wide} ·&nbsp;</span>{rest}' if wide else rest
    return f'<div class="qc-status {"good" if good else "bad"}" role="status"><i></i><span>{line}</span></div>'


def hint(text: str) -> str:
    """The friendly line above the composer, or nothing."""
    return f'<div class="qc-hint" role="status">{_ticks(text)}</div>' if text else ""
