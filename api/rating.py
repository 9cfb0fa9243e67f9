"""The headers that tell a key what it has left, as OpenAI spells them."""

from __future__ import annotations

from queuechat.rates import Standings


def headers_of(standings: Standings) -> dict[str, str]:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, of each limit that there is."""
    headers = {}
    for of, standing in (("requests", standings.requests), ("tokens", standings.tokens)):
        if standing:
            headers[f"x-ratelimit-limit-{of}"] = str(standing.limit)
            headers[f"x-ratelimit-remaining-{of}"] = str(standing.left)
            headers[f"x-ratelimit-reset-{of}"] = span(standing.full_ms)
    return headers


def span(ms: int) -> str:
    """12ms, 8.64s, 6m0s."""
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    seconds = f"{rest / 1000:g}s"
    return f"{minutes}m{seconds}" if minutes else seconds
