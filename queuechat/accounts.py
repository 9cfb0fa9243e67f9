"""Who may log in at the page: a file with one `name:hash` a line, written by `queuechat people`.

A hash is scrypt's, with a salt of its own, its parameters in front. Nothing of a password can be had from it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import unicodedata
from pathlib import Path

from queuechat.errors import InvalidRequest, Misconfigured, NotFound

SHORTEST, LONGEST = 8, 1024  #: characters of a password

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_COST, _BLOCK, _PARALLEL = 2**14, 8, 5  # OWASP's advice for 16 MiB: about 0.2 s
_MEMORY = 64 << 20
_BYTES = 32


def read_people(path: Path) -> dict[str, str]:
    """Hashes by name.

    Raises:
        Misconfigured: the file cannot be read, or a line is not what `queuechat people` writes.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read ({error})") from None
    people = {}
    for number, line in enumerate(lines, 1):
        name, _, record = line.partition(":")
        if not _NAME.fullmatch(name) or _parsed(record) is None or name in people:
            raise Misconfigured(f"{path}, line {number}, is not `name:scrypt$…`; write it with: queuechat people add")
        people[name] = record
    return people


def add_person(path: Path, name: str, password: str) -> bool:
    """Let somebody in, or give them another password; answers whether they are new.

    Raises:
        InvalidRequest: the name or the password will not do.
        Misconfigured: the file cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequest(f"{name[:64]!r} is not 1 to 64 letters, digits or ._@+- beginning with a letter or digit")
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidRequest(f"a password has {SHORTEST} to {LONGEST} characters")
    people = read_people(path)
    _write(path, {**people, name: record_of(password)})
    return name not in people


def remove_person(path: Path, name: str) -> None:
    """Let somebody in no more; what they are logged in with ends as well.

    Raises:
        NotFound: there is no such person.
        Misconfigured: the file cannot be read or written.
    """
    people = read_people(path)
    if people.pop(name, None) is None:
        raise NotFound(f"there is nobody called {name[:64]!r}; see: queuechat people list")
    _write(path, people)


def record_of(password: str) -> str:
    """`scrypt$<cost>$<block>$<parallel>$<salt>$<hash>`, the last two in base64."""
    salt = secrets.token_bytes(16)
    digest = _digest(password, _COST, _BLOCK, _PARALLEL, salt)
    return f"scrypt${_COST}${_BLOCK}${_PARALLEL}${_packed(salt)}${_packed(digest)}"


def fits(password: str, record: str | None) -> bool:
    """Whether that is the password; without a record (nobody of that name) it takes as long to say no. Uses a CPU for
    a fifth of a second: call it in a thread."""
    parsed = _parsed(record) if record else None
    cost, block, parallel, salt, digest = parsed or (_COST, _BLOCK, _PARALLEL, bytes(16), bytes(_BYTES))
    same = hmac.compare_digest(_digest(password[:LONGEST], cost, block, parallel, salt), digest)
    return same and parsed is not None


def _digest(password: str, cost: int, block: int, parallel: int, salt: bytes) -> bytes:
    # The same characters may be typed composed or not, by keyboard and system.
    typed = unicodedata.normalize("NFKC", password).encode(errors="replace")
    return hashlib.scrypt(typed, salt=salt, n=cost, r=block, p=parallel, maxmem=_MEMORY, dklen=_BYTES)


def _parsed(record: str) -> tuple[int, int, int, bytes, bytes] | None:
    kind, *rest = record.split("$")
    if kind != "scrypt" or len(rest) != 5 or not all(part.isdecimal() and len(part) < 8 for part in rest[:3]):
        return None
    cost, block, parallel = (int(part) for part in rest[:3])
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in rest[3:])
    except (binascii.Error, ValueError):
        return None
    sane = cost > 1 and not cost & (cost - 1) and 0 < block * cost * 128 <= _MEMORY // 2 and 0 < parallel <= 16
    return (cost, block, parallel, salt, digest) if sane and len(digest) == _BYTES and len(salt) >= 8 else None


def _packed(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _write(path: Path, people: dict[str, str]) -> None:
    """All at once, readable by its owner alone."""
    text = "".join(f"{name}:{record}\n" for name, record in sorted(people.items()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written ({error})") from None
