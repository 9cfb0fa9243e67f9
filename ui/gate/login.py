"""How the page learns who comes: by a password, from a proxy in front, or not at all."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from starlette.requests import Request

from queuechat.accounts import fits, read_people
from queuechat.errors import Misconfigured
from ui.gate.seal import Seal

log = logging.getLogger(__name__)

COOKIE = "queuechat-login"
LASTS_S = 14 * 86_400  #: a login is good for so long
_LOOK_S = 1.0  #: how long the file of people is believed
_AT_A_TIME = 2  # passwords that are checked: each takes 16 MiB and a CPU


class Login(Protocol):
    """What a page with a login asks."""

    own: bool  #: whether the page has a login of its own: a form, and a way out

    def name_of(self, request: Request) -> str:
        """Who sends this; "" for nobody who is logged in."""


class ProxyLogin:
    """A proxy has logged them in and says so in a header; the door takes it away from anybody else's requests."""

    own = False

    def __init__(self, header: str):
        self._header = header

    def name_of(self, request: Request) -> str:
        return request.headers.get(self._header, "").strip()[:200]


class PasswordLogin:
    """People of a file, and logins that are worth something only with the installation's secret: they end after
    `LASTS_S`, or as soon as the password changes or the person is removed."""

    own = True

    def __init__(self, path: Path, seal: Seal):
        """Raises Misconfigured when the file cannot be read, or has nobody in it."""
        self._path, self._seal = path, seal
        self._stamp: object = None
        self._looked_at = 0.0
        self._people: Mapping[str, str] = {}
        self._places = asyncio.Semaphore(_AT_A_TIME)
        self._people, self._stamp = read_people(path), _stamp(path)
        if not self._people:
            raise Misconfigured(f"nobody could log in: {path} has nobody; add somebody with: queuechat people add NAME")

    def name_of(self, request: Request) -> str:
        return self.opened(request.cookies.get(COOKIE, ""))

    async def check(self, name: str, password: str) -> bool:
        """Whether this is who may log in; a wrong name takes as long as a wrong password."""
        record = self._current().get(name)
        async with self._places:
            return await asyncio.to_thread(fits, password, record)

    def issued(self, name: str) -> str:
        """What the browser of somebody who has just logged in is to show from now on."""
        expires = int(time.time()) + LASTS_S
        label = base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")
        return f"{label}.{expires}.{self._sealed(name, expires, self._current()[name])}"

    def opened(self, shown: str) -> str:
        """Whose it is; "" when it was not issued here, has expired or was taken back."""
        label, _, rest = shown[:1024].partition(".")
        until, _, digest = rest.partition(".")
        try:
            name = base64.urlsafe_b64decode(label + "=" * (-len(label) % 4)).decode()
            expires = int(until)
        except (binascii.Error, ValueError):
            return ""
        record = self._current().get(name, "")
        good = self._seal.matches(digest, "login", _claim(name, expires, record))
        return name if good and record and time.time() < expires else ""

    def _sealed(self, name: str, expires: int, record: str) -> str:
        return self._seal.digest("login", _claim(name, expires, record))

    def _current(self) -> Mapping[str, str]:
        """The people of the file as it is now; as they were, while it is wrong."""
        now = time.monotonic()
        if now - self._looked_at > _LOOK_S:
            self._looked_at = now
            if (stamp := _stamp(self._path)) != self._stamp:
                self._stamp = stamp
                try:
                    self._people = read_people(self._path)
                except Misconfigured as error:
                    log.error("the people who may log in stay as they were: %s", error)
        return self._people


def _claim(name: str, expires: int, record: str) -> str:
    return f"{expires} {record} {name}"


def _stamp(path: Path) -> object:
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_ino, seen.st_mtime_ns, seen.st_size
