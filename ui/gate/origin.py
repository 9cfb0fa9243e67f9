"""Where a request was made: by a browser on our own page, or on somebody else's."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

_SAFE = ("GET", "HEAD", "OPTIONS")


def same_origin(request: Request) -> bool:
    """Whether a browser sent this from our own page. Browsers say where from; what is none, may say nothing. No form
    of another page can set `X-Forwarded-Host`, which a proxy that changes `Host` does."""
    if site := request.headers.get("sec-fetch-site"):
        return site in ("same-origin", "none")
    origin, names = request.headers.get("origin"), ("host", "x-forwarded-host")
    return origin is None or urlsplit(origin).netloc in {request.headers.get(name) for name in names}


def foreign(request: Request) -> bool:
    """Whether it would change something here at the wish of another page."""
    return request.method not in _SAFE and not same_origin(request)
