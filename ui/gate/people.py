"""Who asks, as the rest of the page knows them: by a pseudonym, which tells nobody an address or a name."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from queuechat.protocol import new_id
from queuechat.rates import network_of
from ui.gate.seal import Seal

SCOPE_KEY = "queuechat.visit"  #: where the door leaves it in the ASGI scope


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a browser: who sends it, and which terms of use that browser has accepted ("" for none).

    `id` names the question that it may bring. All that is asked for one visit counts as one question, so both sides of
    a battle are asked with the same one.
    """

    person: str = ""
    name: str = ""
    terms: str = ""
    id: str = field(default_factory=new_id)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock, compare=False, repr=False)


STRANGER = Visit()  #: who came by no door: is let in only where nothing is asked of visitors


def visit_of(request: Any) -> Visit:
    """The visit that a Gradio handler was called for (its `gr.Request`)."""
    scope = getattr(request.request, "scope", None) or {}
    visit = scope.get(SCOPE_KEY)
    return visit if isinstance(visit, Visit) else STRANGER


def person_of(request: Any) -> str:
    """The pseudonym of who called a Gradio handler: the same for a login, or for an address, as long as Redis keeps
    the installation's secret. "" for who came by no door."""
    return visit_of(request).person


def pseudonym(seal: Seal, *, name: str = "", address: str = "") -> str:
    """16 hexadecimal digits for a login; where there is none for an address (of IPv6 its /64)."""
    who = f"name {name}" if name else f"address {network_of(address)}"
    return seal.digest("person", who)[:16]
