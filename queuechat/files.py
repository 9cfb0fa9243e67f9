"""Files that clients upload and batches make: a record in Redis, the content in a store."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from queuechat import keys
from queuechat.bus import Bus
from queuechat.disk import sync_folder
from queuechat.errors import FileMissing
from queuechat.pages import Page, read_page

UPLOADS = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")  #: purposes that a client may give
BATCH_FILE_S = 30 * 24 * 3600  #: an uploaded batch is kept for so long, unless told otherwise

_ID = re.compile(r"file-[0-9a-f]{32}")
_HALF = re.compile(rf"\.{_ID.pattern}\.[0-9a-f]{{8}}")
_BLOCK = 1 << 20
_MANY = 500


@dataclass(frozen=True, slots=True)
class File:
    """A record. Times are Unix seconds; `expires_at` None is never."""

    id: str
    tenant: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None = None

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= time.time()

    def shown(self) -> dict[str, Any]:
        """OpenAI's file object."""
        return {"object": "file", "status": "processed", **{name: getattr(self, name) for name in _SHOWN}}


_SHOWN = ("id", "filename", "purpose", "bytes", "created_at", "expires_at")


class FileStore(Protocol):
    """Where content lies, by file id. What was put is there for good, whole or not at all."""

    def put(self, id: str, content: BinaryIO) -> int:
        """Keep what `content` holds from its place on; answers its length in bytes."""
        ...

    def open(self, id: str) -> BinaryIO:
        """Raises FileMissing when there is no such content."""
        ...

    def size(self, id: str) -> int:
        """Raises FileMissing when there is no such content."""
        ...

    def delete(self, id: str) -> None:
        """Nothing happens when it is gone already."""
        ...

    def aged(self, before: float) -> list[str]:
        """Ids of what was put before that Unix time; what was never put whole by then is dropped."""
        ...


class Directory:
    """A store in one folder, one file each: on this host's disk, or on a volume that several hosts mount."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, id: str) -> Path:
        if not _ID.fullmatch(id):
            raise FileMissing(f"there is no file {id[:80]!r}")
        return self.folder / id

    def put(self, id: str, content: BinaryIO) -> int:
        path = self.path(id)
        self.folder.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f".{id}.{secrets.token_hex(4)}")
        try:
            with half.open("wb") as out:
                while block := content.read(_BLOCK):
                    out.write(block)
                length = out.tell()
                out.flush()
                os.fsync(out.fileno())
            half.rename(path)
        except BaseException:
            half.unlink(missing_ok=True)
            raise
        sync_folder(self.folder)
        return length

    def open(self, id: str) -> BinaryIO:
        try:
            return self.path(id).open("rb")
        except FileNotFoundError:
            raise self._missing(id) from None

    def size(self, id: str) -> int:
        try:
            return self.path(id).stat().st_size
        except FileNotFoundError:
            raise self._missing(id) from None

    def delete(self, id: str) -> None:
        self.path(id).unlink(missing_ok=True)

    def aged(self, before: float) -> list[str]:
        if not self.folder.is_dir():
            return []
        old = [path for path in self.folder.iterdir() if _age(path) < before]
        for path in old:
            if _HALF.fullmatch(path.name):
                path.unlink(missing_ok=True)
        return [path.name for path in old if _ID.fullmatch(path.name)]

    def _missing(self, id: str) -> FileMissing:
        return FileMissing(f"the content of file {id!r} is not in QUEUECHAT_FILES_DIR of this host: all must share it")


def _age(path: Path) -> float:
    """When it was written, Unix seconds; now when it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def new_file_id() -> str:
    return f"file-{secrets.token_hex(16)}"


async def add_file(bus: Bus, file: File) -> None:
    """Record a file whose content is in the store; harmless when it is repeated."""
    commands: list[tuple[Any, ...]] = [
        ("SET", keys.file(file.id), orjson.dumps(asdict(file))),
        ("ZADD", keys.files(file.tenant), file.created_at * 1000, file.id),
    ]
    if file.expires_at is not None:
        commands.append(("ZADD", keys.FILES, file.expires_at * 1000, file.id))
    await bus.connection.insist(commands)


async def get_file(bus: Bus, tenant: str, id: str) -> File:
    """Raises FileMissing when there is none, not any more, or it is another's."""
    (found,) = await _read(bus, [id])
    if found is None or found.expired or found.tenant != tenant:
        raise FileMissing(f"there is no file {id[:80]!r}", param="file_id")
    return found


async def list_files(
    bus: Bus,
    tenant: str,
    *,
    after: str | None = None,
    limit: int = 10_000,
    newest_first: bool = True,
    purpose: str = "",
) -> Page[File]:
    """Raises InvalidRequest when `after` is none of these files."""

    def wanted(file: File) -> bool:
        return not file.expired and purpose in ("", file.purpose)

    return await read_page(
        *(bus, keys.files(tenant), lambda ids: _read(bus, ids)),
        after=after,
        limit=limit,
        newest_first=newest_first,
        wanted=wanted,
    )


async def forget_file(bus: Bus, file: File) -> None:
    """Drop the record; the content is the caller's to delete then."""
    await bus.connection.insist(
        [
            ("DEL", keys.file(file.id)),
            ("ZREM", keys.files(file.tenant), file.id),
            ("ZREM", keys.FILES, file.id),
        ]
    )


async def list_expired(bus: Bus, count: int = 100) -> list[File]:
    """Files whose time is over and that are still recorded; ids without a record leave the directory."""
    command = ("ZRANGEBYSCORE", keys.FILES, "-inf", int(time.time() * 1000), "LIMIT", 0, count)
    while ids := [raw.decode() for raw in (await bus.connection.insist([command]))[0]]:
        files = await _read(bus, ids)
        if gone := [id for id, file in zip(ids, files, strict=True) if not file]:
            await bus.connection.insist([("ZREM", keys.FILES, *gone)])
        if found := [file for file in files if file]:
            return found
    return []


async def unrecorded(bus: Bus, ids: Sequence[str]) -> list[str]:
    """Those of the ids that no record tells of."""
    found: list[str] = []
    for at in range(0, len(ids), _MANY):
        part = ids[at : at + _MANY]
        there = await bus.connection.insist([("EXISTS", keys.file(id)) for id in part])
        found += [id for id, one in zip(part, there, strict=True) if not one]
    return found


async def _read(bus: Bus, ids: Sequence[str]) -> list[File | None]:
    if not ids:
        return []
    raws = await bus.connection.insist([("GET", keys.file(id)) for id in ids])
    return [File(**orjson.loads(raw)) if raw else None for raw in raws]
