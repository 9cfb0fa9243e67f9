"""Batches: many requests in a file, answered when there is room for them."""

from __future__ import annotations

import logging
import time

import orjson
from fastapi import APIRouter, Request, Response

from api import intake
from api.house import House, house_of, ticket_of
from api.listing import cursor, limit_of
from api.openapi import body_of, listed, shown
from queuechat.batches import Batch, add_batch, cancel_batch, get_batch, list_batches, new_batch_id
from queuechat.dialects.schemas import BatchRequest
from queuechat.errors import FileMissing, InvalidRequest, QueuechatError
from queuechat.files import get_file

log = logging.getLogger(__name__)

router = APIRouter(tags=["batches"])


@router.post("/v1/batches", openapi_extra=body_of(BatchRequest), responses=shown("batch", "id", "status"))
async def create_batch(request: Request) -> Response:
    """Run the requests of a file of purpose batch; the results are files as well."""
    house, bearer = house_of(request), ticket_of(request).bearer
    asked = await intake.checked(request, BatchRequest)
    await _check_input(house, bearer.id, asked.input_file_id)
    now = int(time.time())
    batch = Batch(
        id=new_batch_id(),
        tenant=bearer.id,
        endpoint=asked.endpoint,
        input_file_id=asked.input_file_id,
        completion_window=asked.completion_window,
        created_at=now,
        expires_at=now + asked.window_s,
        metadata=asked.metadata,
        output_expires_s=asked.output_expires_after.seconds if asked.output_expires_after else None,
        models=list(bearer.models),
    )
    house.chores.check()
    await add_batch(house.bus, batch)
    try:
        await house.chores.add("advance", batch.id, id=f"{batch.id}:0")
    except QueuechatError as error:
        log.warning("batch %s starts when the background worker looks for it: %s", batch.id, error)
    return _json(batch.shown())


@router.get("/v1/batches", openapi_extra=cursor(100, 20), responses=listed("batch"))
async def get_batches(request: Request, after: str | None = None) -> Response:
    """Your batches, the newest first."""
    bus, tenant = house_of(request).bus, ticket_of(request).tenant
    page = await list_batches(bus, tenant, after=after, limit=limit_of(request, 20, 100))
    return _json(page.shown(Batch.shown))


@router.get("/v1/batches/{id}", responses=shown("batch", "id", "status"))
async def get_one_batch(request: Request, id: str) -> Response:
    """Where a batch stands."""
    return _json((await get_batch(house_of(request).bus, id, ticket_of(request).tenant)).shown())


@router.post("/v1/batches/{id}/cancel", responses=shown("batch", "id", "status"))
async def cancel_one_batch(request: Request, id: str) -> Response:
    """Stop a batch; what was answered until then is in its files. 409 for one that has ended."""
    return _json((await cancel_batch(house_of(request).bus, id, ticket_of(request).tenant)).shown())


async def _check_input(house: House, tenant: str, id: str) -> None:
    try:
        file = await get_file(house.bus, tenant, id)
    except FileMissing:
        raise InvalidRequest(f"there is no file {id[:80]!r}: upload it first", param="input_file_id") from None
    if file.purpose != "batch":
        raise InvalidRequest(f"the file has purpose {file.purpose!r}; it must be batch", param="input_file_id")


def _json(body: dict[str, object]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
