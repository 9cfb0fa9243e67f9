"""Files: uploaded by clients, made by batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from api.house import house_of, ticket_of
from api.listing import cursor, limit_of, newest_first_of
from api.openapi import listed, shown
from api.uploads import FORM, read_upload
from queuechat.files import File, add_file, forget_file, get_file, list_files, new_file_id

router = APIRouter(tags=["files"])

_MOST = 10_000
_BLOCK = 1 << 16


@router.post("/v1/files", openapi_extra=FORM, responses=shown("file", "id", "bytes"))
async def upload_file(request: Request) -> Response:
    """Keep a file: multipart/form-data with `file` and `purpose`. One of purpose batch is kept for 30 days, others
    until they are deleted, unless `expires_after` says otherwise."""
    house, tenant, id = house_of(request), ticket_of(request).tenant, new_file_id()
    house.drain.admit()
    async with read_upload(request) as upload:
        size = await asyncio.to_thread(house.store.put, id, upload.file.file)
        now = int(time.time())
        expires_at = None if upload.lifetime_s is None else now + upload.lifetime_s
        file = File(id, tenant, upload.filename, upload.purpose, size, now, expires_at)
        try:
            await add_file(house.bus, file)
        except BaseException:
            house.store.delete(id)
            raise
    return _json(file.shown())


@router.get("/v1/files", openapi_extra=cursor(_MOST, _MOST, ordered=True), responses=listed("file"))
async def get_files(request: Request, after: str | None = None, purpose: str = "") -> Response:
    """Your files, the newest first; `after`, `limit`, `order` and `purpose` as OpenAI has them."""
    bus, tenant = house_of(request).bus, ticket_of(request).tenant
    limit, newest_first = limit_of(request, _MOST, _MOST), newest_first_of(request)
    page = await list_files(bus, tenant, after=after, limit=limit, newest_first=newest_first, purpose=purpose)
    return _json(page.shown(File.shown))


@router.get("/v1/files/{id}", responses=shown("file", "id", "bytes"))
async def get_one_file(request: Request, id: str) -> Response:
    """What is known of a file."""
    return _json((await _file(request, id)).shown())


@router.get(
    "/v1/files/{id}/content",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def get_content(request: Request, id: str) -> Response:
    """The bytes as they were uploaded or made."""
    file, store = await _file(request, id), house_of(request).store
    content = await asyncio.to_thread(store.open, file.id)
    headers = {
        "content-length": str(await asyncio.to_thread(store.size, file.id)),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(_blocks(content), headers=headers, media_type="application/octet-stream")


@router.delete("/v1/files/{id}", responses=shown("file", "id", "deleted"))
async def delete_file(request: Request, id: str) -> Response:
    """Forget a file and its content. A batch that is still validating fails; one that runs has a copy."""
    file, house = await _file(request, id), house_of(request)
    await forget_file(house.bus, file)
    await asyncio.to_thread(house.store.delete, file.id)
    return _json({"id": file.id, "object": "file", "deleted": True})


async def _file(request: Request, id: str) -> File:
    return await get_file(house_of(request).bus, ticket_of(request).tenant, id)


def _blocks(content: BinaryIO) -> Iterator[bytes]:
    with content:
        while block := content.read(_BLOCK):
            yield block


def _json(body: dict[str, object]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
