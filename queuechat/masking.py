"""What a URL looks like where people read it: without its secrets, however badly it is written."""

from __future__ import annotations

import re

_MASK = "***"
_IN_QUERY = re.compile(r"([?&]\w*(?:password|username)=)(.*?)(?=&\w+=|$)", re.IGNORECASE | re.DOTALL)
_USER = re.compile(r"[\w.~-]+(?=:)")


def without_secrets(url: str) -> str:
    """The URL as it may be shown or logged.

    It is not parsed: a password with an unquoted `:`, `/`, `?`, `#` or `@` in it ends elsewhere than the rules for URLs
    say. All up to the last `@` counts as secret, but for a user name that can be nothing else.
    """
    scheme, slashes, rest = url.partition("//")
    if not slashes:
        scheme, rest = "", url
    secret, at, place = rest.rpartition("@")
    if at and _IN_QUERY.search(secret):
        return f"{scheme}{slashes}{_MASK}@{_MASK}"  # the @ may be in a password of the query, which goes on behind it
    user = _USER.match(secret)
    shown = f"{user[0]}:{_MASK}@" if user else f"{_MASK}@" if at else ""
    return f"{scheme}{slashes}{shown}" + _IN_QUERY.sub(rf"\g<1>{_MASK}", place)
