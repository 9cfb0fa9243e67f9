"""The gate and the door of a page, as its settings want them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.errors import Misconfigured
from queuechat.rates import Rates
from queuechat.roster import Roster
from queuechat.settings import Settings
from ui.gate.bodies import Bodies, rooms_of
from ui.gate.door import Door, Porch
from ui.gate.endpoint import Endpoint
from ui.gate.gate import Gate
from ui.gate.guard import Guard
from ui.gate.limits import Limits
from ui.gate.login import Login, PasswordLogin, ProxyLogin
from ui.gate.moderation import Moderation, Moderator
from ui.gate.pages import Pages
from ui.gate.people import SCOPE_KEY, Visit
from ui.gate.receipts import Receipts
from ui.gate.seal import Seal, open_seal
from ui.gate.terms import read_terms
from ui.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Entrance:
    """`gate` for questions, `routes` beside Gradio's, and `guarded`, which puts the door before an app. `known` tells
    Gradio who has logged in; None where nobody must."""

    gate: Gate
    routes: list[Route]
    guarded: Callable[[ASGIApp], ASGIApp]
    known: Callable[[Request], str | None] | None


@contextlib.asynccontextmanager
async def an_entrance(
    settings: Settings, bus: Bus, client: Client, roster: Roster, uploads: Uploads
) -> AsyncIterator[Entrance]:
    """Raises Misconfigured when what the settings name cannot be used, BusUnavailable when Redis does not answer."""
    seal, rates = await open_seal(bus), Rates(bus)
    login = _login(settings, seal)
    terms = read_terms(settings.ui_terms) if settings.ui_terms else None
    gate = Gate(
        rates,
        rpm=settings.ui_rpm,
        limits=Limits(settings.ui_question_limit, settings.ui_conversation_limit, settings.ui_turn_limit),
        terms=terms,
        moderation=_moderation(settings, client, roster),
        known=login is not None,
    )
    form = login if isinstance(login, PasswordLogin) else None
    pages = Pages(rates, form, terms, settings.ui_login_tries)
    header = settings.ui_login_header if isinstance(login, ProxyLogin) else ""

    def guarded(app: ASGIApp) -> ASGIApp:
        inner = Bodies(Receipts(app, uploads), rooms_of(settings))
        return Porch(Door(inner, seal, gate, login), settings.ui_proxies, header)

    try:
        yield Entrance(gate, pages.routes(), guarded, _named if login else None)
    finally:
        await gate.close()


def _named(request: Request) -> str | None:
    visit = request.scope.get(SCOPE_KEY)
    return visit.name or None if isinstance(visit, Visit) else None


def _login(settings: Settings, seal: Seal) -> Login | None:
    if settings.ui_login == "password":
        return PasswordLogin(settings.people_file, seal)
    if settings.ui_login == "header":
        if not settings.ui_proxies:
            raise Misconfigured("QUEUECHAT_UI_LOGIN=header believes proxies: name yours in QUEUECHAT_UI_PROXIES")
        return ProxyLogin(settings.ui_login_header)
    return None


def _moderation(settings: Settings, client: Client, roster: Roster) -> Moderation | None:
    if settings.ui_moderation == "off":
        return None
    patience_s, closed = settings.ui_moderation_s, settings.ui_moderation_down == "closed"
    return Moderation(_moderator(settings, client, roster, patience_s), patience_s=patience_s, closed=closed)


def _moderator(settings: Settings, client: Client, roster: Roster, patience_s: float) -> Moderator:
    model = settings.ui_moderation_model
    if settings.ui_moderation == "guard":
        return Guard(client, roster, model, patience_s=patience_s)
    key = settings.ui_moderation_key.get_secret_value()
    return Endpoint(settings.ui_moderation_url, key, model, settings.ui_moderation_thresholds, patience_s=patience_s)
