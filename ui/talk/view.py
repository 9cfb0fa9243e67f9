"""Exchanges as the messages that a Gradio chatbot shows. All text that is not Markdown by design is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from ui.talk.exchange import Exchange

_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
_TICKED = re.compile(r"`([^`]+)`")

Message = dict[str, Any]


def messages(conversation: Sequence[Exchange], *, pending: str = "", live: str = "") -> list[Message]:
    """All bubbles. `pending` stands where the last answer will be, `live` under one that is being written."""
    shown: list[Message] = []
    for exchange in conversation:
        shown += [_bubble("user", question(exchange.question)), *_said(exchange)]
    if pending:
        shown.append(_bubble("assistant", _line("qc-wait", pending)))
    if live:
        shown.append(_bubble("assistant", _line("qc-foot qc-live", live)))
    return shown


def _said(exchange: Exchange) -> list[Message]:
    parts = [
        exchange.answer,
        _line("qc-note", exchange.notice) if exchange.notice else "",
        _line("qc-foot", exchange.footer) if exchange.footer else "",
    ]
    return [_bubble("assistant", part) for part in parts if part]


def _bubble(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def question(text: str) -> str:
    """What somebody typed: Markdown is fine, but tags and line starts are shown as they were meant, not obeyed."""
    parts = _CODE.split(text)
    return "".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


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
