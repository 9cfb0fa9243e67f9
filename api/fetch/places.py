"""Where a URL leads, read strictly, and whether the operator lets anybody go there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import SplitResult, urlsplit

from queuechat.errors import Misconfigured

MAX_URL = 4096  #: characters
PORTS = {"https": 443, "http": 80}

_URL = re.compile(r"[!-\[\]-~]+")  # printable ASCII without space and backslash
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ENTRY = re.compile(r"(?:(https?)://)?(\*|(?:\*\.)?[^*/:\[\]]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")


class NoPlace(ValueError):
    """The URL cannot be followed; the message ends a sentence that begins with what it is."""


@dataclass(frozen=True, slots=True)
class Place:
    """An HTTP resource: `host` is a lower-case ASCII name or an address without brackets."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == PORTS[self.scheme] else f"{name}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def place_of(url: str) -> Place:
    """Raises NoPlace for what is not a plain http or https URL, or could be read in two ways."""
    if len(url) > MAX_URL:
        raise NoPlace(f"is longer than {MAX_URL} characters")
    if not _URL.fullmatch(url):
        raise NoPlace("has characters that are not printable ASCII: percent-encode them, and write the host as xn--…")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise NoPlace("is no valid URL") from None
    if parts.scheme not in PORTS:
        raise NoPlace("must begin with https://, http:// or data:")
    if not url[len(parts.scheme) :].startswith("://"):
        raise NoPlace("is no valid URL")
    if "@" in parts.netloc:
        raise NoPlace("must not have a user name or password")
    if parts.netloc.endswith(":") or port == 0:
        raise NoPlace("has no valid port")
    return Place(parts.scheme, _host(parts), port or PORTS[parts.scheme], _target(parts))


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").removesuffix(".")
    try:
        if "[" in parts.netloc and "%" not in host:  # a zone is of this machine
            return str(IPv6Address(host))
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            return str(IPv4Address(host))  # and not one of the other ways to write it
    except ValueError:
        raise NoPlace("has a host that is neither a name nor an address in its usual form") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise NoPlace("has no valid host")
    return host


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


@dataclass(frozen=True, slots=True)
class _Entry:
    scheme: str
    name: str
    port: int

    def admits(self, place: Place) -> bool:
        return (place.scheme, place.port) == (self.scheme, self.port) and self._names(place.host)

    def _names(self, host: str) -> bool:
        return self.name in ("*", host) or (self.name.startswith("*.") and host.endswith(self.name[1:]))


class AllowList:
    """Hosts as the operator names them: `cdn.example.org`, `*.example.org` (not itself), `*`; with `:8443` for
    another port and `http://` before it for plain HTTP.

    Raises:
        Misconfigured: a word is none of these.
    """

    def __init__(self, words: Sequence[str]):
        self._entries = [_entry(word) for word in words]

    def __bool__(self) -> bool:
        return bool(self._entries)

    def admits(self, place: Place) -> bool:
        return any(entry.admits(place) for entry in self._entries)


def _entry(word: str) -> _Entry:
    found = _ENTRY.fullmatch(word.lower())
    if found is None or not word.isascii():
        raise Misconfigured(
            f"QUEUECHAT_IMAGE_HOSTS: {word!r} is no host: write cdn.example.org, *.example.org, example.org:8443 or "
            "http://example.org"
        )
    scheme = found[1] or "https"
    return _Entry(scheme, found[2].strip("[]"), int(found[3] or PORTS[scheme]))
