"""The lines of a batch: what each asks of which endpoint, and how its result looks in the output or error file.

What is wrong with the line itself (no JSON, no custom_id, the wrong url) is a fault of the whole file. What is wrong
with its body is what the endpoint would answer, and so the result of that line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from queuechat.dialects import chat, completions, embeddings, responses
from queuechat.dialects.order import Order, Slip
from queuechat.dialects.problems import body_of, kind_of
from queuechat.dialects.schemas import ChatRequest, CompletionRequest, EmbeddingRequest, ResponseRequest, parse
from queuechat.dialects.schemas.base import Body
from queuechat.dialects.style import CHAT
from queuechat.dialects.texts import WholeTexts
from queuechat.dialects.whole import Whole, WholeText
from queuechat.errors import InvalidRequest, QueuechatError
from queuechat.protocol import ModelCard

MAX_LINES = 50_000
MAX_NAME = 512  #: characters of a custom_id

KINDS: Mapping[str, type[Body]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/v1/embeddings": EmbeddingRequest,
    "/v1/responses": ResponseRequest,
}

#: What is said of a line that was not run, by code.
UNRUN = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_cancelled": "This request was not executed, since the batch was cancelled.",
}


class Fault(NamedTuple):
    """Why a file is no batch; as OpenAI's BatchError."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class LineFault(Exception):
    """What a line must not be."""

    def __init__(self, fault: Fault):
        super().__init__(fault.message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Line:
    """A request of a batch; `number` counts from 1."""

    number: int
    custom_id: str
    url: str
    body: bytes
    fault: Fault | None = None  #: why it is none: its file was good when it was checked, by whatever release

    @property
    def model(self) -> str | None:
        """What the body names, if it is a name at all."""
        name = orjson.loads(self.body).get("model")
        return name if isinstance(name, str) else None


def read_line(number: int, raw: bytes, endpoint: str | None = None) -> Line:
    """The request on a line, for `endpoint` or (None) for any that there is.

    Raises:
        LineFault: it is none.
    """

    def refuse(code: str, message: str, param: str | None = None) -> LineFault:
        return LineFault(Fault(code, message, number, param))

    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise refuse("invalid_json_line", f"This line is not parseable as valid JSON: {error.msg}") from None
    if not isinstance(found, dict):
        raise refuse("invalid_json_line", "This line is not a JSON object")
    for name in ("custom_id", "method", "url", "body"):
        if found.get(name) is None:
            raise refuse("missing_required_parameter", f"`{name}` is missing", name)
    name, url, body = found["custom_id"], found["url"], found["body"]
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
        raise refuse("invalid_request", f"`custom_id` must be a string of 1 to {MAX_NAME} characters", "custom_id")
    if found["method"] != "POST":
        raise refuse("invalid_method", '`method` must be "POST"', "method")
    if url not in KINDS if endpoint is None else url != endpoint:
        wanted = endpoint or " or ".join(KINDS)
        raise refuse("invalid_url", f"`url` must be {wanted}, the endpoint of the batch", "url")
    if not isinstance(body, dict):
        raise refuse("invalid_request", "`body` must be an object", "body")
    return Line(number, name, url, orjson.dumps(body))


def read_body(line: Line) -> Body:
    """The checked body.

    Raises:
        InvalidRequest: the endpoint would refuse it.
    """
    if line.fault:
        raise InvalidRequest(line.fault.message, param=line.fault.param)
    body = parse(line.body, KINDS[line.url])
    if getattr(body, "stream", None):
        raise InvalidRequest("`stream` must be left out: a batch has whole answers", param="stream")
    if isinstance(body, ResponseRequest):
        _check_stands_alone(body)
    return body


def _check_stands_alone(body: ResponseRequest) -> None:
    for name in ("background", "previous_response_id"):
        if getattr(body, name):
            raise InvalidRequest(f"`{name}` must be left out: what a batch asks is not stored", param=name)
    for k, item in enumerate(body.items("")):
        if item["type"] == "item_reference":
            raise InvalidRequest(f"`input[{k}]` must be the item itself: batches look up nothing", param=f"input[{k}]")


def place(body: Body, slip: Slip, card: ModelCard, created: int) -> tuple[Order, Whole]:
    """What a body orders, and what becomes of the events.

    Raises:
        InvalidRequest: the model cannot do this.
    """
    if isinstance(body, ChatRequest):
        order = chat.order_of(body, slip)
        return order, WholeText(CHAT, order, created)
    if isinstance(body, CompletionRequest):
        order = completions.order_of(body, slip)
        return order, WholeTexts(order, created)
    if isinstance(body, ResponseRequest):
        alone = body.model_copy(update={"store": False})
        items = alone.items(slip.id)
        order = responses.order_of(alone, slip, items)
        return order, responses.WholeResponse(responses.asked_of(alone, order, items, created))
    assert isinstance(body, EmbeddingRequest)
    if not card.embeds:
        raise InvalidRequest(f"the model {body.model!r} gives no embeddings; pick another", param="model")
    return embeddings.order_of(body, slip), embeddings.WholeVectors(body)


def answered(line: Line, id: str, body: dict[str, Any]) -> dict[str, Any]:
    """A line of the output file; `id` is that of the line's first job."""
    return _record(line.custom_id, id, {"status_code": 200, "request_id": id, "body": body}, None)


def refused(line: Line, id: str, error: QueuechatError) -> dict[str, Any]:
    """A line of the error file: what the endpoint would have answered."""
    body = {"error": body_of(error)["error"]}
    return _record(line.custom_id, id, {"status_code": kind_of(error).status, "request_id": id, "body": body}, None)


def unrun(line: Line, id: str, code: str) -> dict[str, Any]:
    """A line of the error file: one that was never answered, by a code of `UNRUN`."""
    return _record(line.custom_id, id, None, {"code": code, "message": UNRUN[code]})


def _record(name: str, id: str, response: dict[str, Any] | None, error: dict[str, Any] | None) -> dict[str, Any]:
    return {"id": f"batch_req_{id}", "custom_id": name, "response": response, "error": error}
