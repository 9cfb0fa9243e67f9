"""What the page answers beside Gradio: its login, the way out, and its terms of use."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from queuechat.errors import QueuechatError, RateLimited
from queuechat.rates import Rates
from ui.gate import login, terms
from ui.gate.door import LOGIN_PATH
from ui.gate.login import PasswordLogin
from ui.gate.origin import same_origin
from ui.gate.people import SCOPE_KEY
from ui.gate.terms import Terms

_FORM_BYTES = 8192
_YEAR_S = 365 * 86_400
_GUARDED = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Pages:
    """The routes of one page; `tries` is how many logins a minute one address has (0: any number)."""

    rates: Rates
    login: PasswordLogin | None = None
    terms: Terms | None = None
    tries: int = 0

    def routes(self) -> list[Route]:
        routes = [Route("/terms", self.show_terms), Route("/terms", self.accept_terms, methods=["POST"])]
        if self.login:
            routes += [
                Route(LOGIN_PATH, self.show_login),
                Route(LOGIN_PATH, self.log_in, methods=["POST"]),
                Route("/logout", self.log_out, methods=["POST"]),
            ]
        return routes

    # -- login -----------------------------------------------------------------------------------------------------

    async def show_login(self, request: Request) -> Response:
        return _home(request) if request.scope[SCOPE_KEY].name else _form()

    async def log_in(self, request: Request) -> Response:
        assert self.login
        form = await _read_form(request)
        if form is None or not same_origin(request):
            return _form("This did not come from the login page. Try again.", status=400)
        name, password = form
        try:
            await self.rates.try_password(request.client.host if request.client else "", self.tries)
        except RateLimited as error:
            wait = {"Retry-After": str(math.ceil(error.retry_after or 1))}
            return _form(f"{error.message[0].upper()}{error.message[1:]}.", name, status=429, headers=wait)
        except QueuechatError:
            return _form("Nobody can log in now. Try again in a moment.", name, status=503)
        if not await self.login.check(name, password):
            return _form("Name or password is wrong.", name, status=401)
        response = _home(request)
        _keep(request, response, login.COOKIE, self.login.issued(name), login.LASTS_S)
        return response

    async def log_out(self, request: Request) -> Response:
        response = RedirectResponse(LOGIN_PATH[1:], 303)
        response.delete_cookie(login.COOKIE)
        return response

    # -- terms -----------------------------------------------------------------------------------------------------

    async def show_terms(self, request: Request) -> Response:
        """204 where there is nothing to accept, or it was accepted."""
        if self.terms is None or request.scope[SCOPE_KEY].terms == self.terms.hash:
            return Response(status_code=204, headers={"Cache-Control": "no-store"})
        return JSONResponse({"html": self.terms.html, "hash": self.terms.hash}, headers={"Cache-Control": "no-store"})

    async def accept_terms(self, request: Request) -> Response:
        """The hash of what was read comes with it: terms that have changed meanwhile are not accepted."""
        if self.terms is None or request.query_params.get("hash") != self.terms.hash:
            return JSONResponse({"detail": "these are not the terms any more: reload the page"}, 409)
        response = Response(status_code=204)
        _keep(request, response, terms.COOKIE, self.terms.hash, _YEAR_S)
        return response


async def _read_form(request: Request) -> tuple[str, str] | None:
    """Name and password; None for what is no such form."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_BYTES:
            return None
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=8)
        return fields["name"][0].strip(), fields["password"][0]
    except (ValueError, KeyError):
        return None


def _form(problem: str = "", name: str = "", *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    template = Template(files("ui").joinpath("gate", "login.html").read_text(encoding="utf-8"))
    note = f'<p class="note" role="alert">{html.escape(problem)}</p>' if problem else ""
    text = template.substitute(note=note, name=html.escape(name[:64], quote=True))
    return HTMLResponse(text, status, {**_GUARDED, **(headers or {})})


def _home(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"./{query}", 303, {"Cache-Control": "no-store"})


def _keep(request: Request, response: Response, name: str, value: str, seconds: int) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, max_age=seconds, httponly=True, samesite="lax", secure=secure)
