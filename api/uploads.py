"""Multipart bodies: parsed as they come, large parts to disk, never held in memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import Message
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from queuechat.errors import InvalidRequest
from queuechat.files import BATCH_FILE_S, UPLOADS

_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"
_FIELDS = frozenset({"file", "purpose", _ANCHOR, _SECONDS})
_MAX_NAME = 255

#: The `openapi_extra` of the route that takes an upload.
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": list(UPLOADS)},
                        _ANCHOR: {"type": "string", "enum": ["created_at"]},
                        _SECONDS: {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
                    },
                }
            }
        },
    }
}


@dataclass(frozen=True, slots=True)
class Upload:
    """A form of POST /v1/files; `lifetime_s` None is for ever."""

    file: UploadFile
    filename: str
    purpose: str
    lifetime_s: int | None


@contextlib.asynccontextmanager
async def read_upload(request: Request) -> AsyncIterator[Upload]:
    """The form of a request; its file is gone at the end of the block.

    Raises:
        InvalidRequest: a field is missing or makes no sense.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise InvalidRequest("send the file as multipart/form-data, with fields `file` and `purpose`", param="file")
    _check_charset(request.headers["content-type"])
    try:
        async with request.form(max_files=1, max_fields=8) as form:
            yield _checked(form)
    except HTTPException as error:  # what the parser says of a broken body
        raise InvalidRequest(f"the form cannot be read: {error.detail}") from None
    except ClientDisconnect:
        raise InvalidRequest("the upload was broken off") from None


def _check_charset(kind: str) -> None:
    """Python knows character sets that are none, and that decode to anything or nothing."""
    told = Message()
    told["content-type"] = kind
    if str(told.get_param("charset", "utf-8")).lower() not in ("utf-8", "utf8"):
        raise InvalidRequest("the `charset` of a form must be utf-8, or be left out", param="charset")


def _checked(form: FormData) -> Upload:
    if unknown := sorted(set(form) - _FIELDS):
        raise InvalidRequest(f"`{unknown[0][:80]}` is not a field of an upload", param=unknown[0][:80])
    file, purpose = form.get("file"), form.get("purpose")
    if not isinstance(file, UploadFile):
        raise InvalidRequest("`file` is missing", param="file")
    if purpose not in UPLOADS:
        raise InvalidRequest(f"`purpose` must be {', '.join(UPLOADS[:-1])} or {UPLOADS[-1]}", param="purpose")
    name = (file.filename or "")[-_MAX_NAME:].replace("\\", "/").rpartition("/")[2]
    return Upload(file, name or "upload", str(purpose), _lifetime(form, str(purpose)))


def _lifetime(form: FormData, purpose: str) -> int | None:
    anchor, seconds = form.get(_ANCHOR), form.get(_SECONDS)
    if anchor is None and seconds is None:
        return BATCH_FILE_S if purpose == "batch" else None
    if anchor != "created_at":
        raise InvalidRequest(f"`{_ANCHOR}` must be created_at", param=_ANCHOR)
    number = seconds if isinstance(seconds, str) and len(seconds) <= 9 and seconds.isdecimal() else "0"
    if not 3600 <= int(number) <= 2_592_000:
        raise InvalidRequest(f"`{_SECONDS}` must be 3600 (1 hour) to 2592000 (30 days)", param=_SECONDS)
    return int(number)
