"""/api: Ollama's API, where `QUEUECHAT_OLLAMA` switches it on."""

from __future__ import annotations

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from api import intake
from api.answering import StreamedAnswer, WholeAnswer
from api.house import house_of, ticket_of
from api.ndjson import LineFrames
from api.openapi import LINES, body_of
from api.pictures import refuse_long, with_pictures
from api.scope import allowed, model_to_show, model_to_use
from queuechat import __version__
from queuechat.dialects import ollama
from queuechat.dialects.ollama.models import row_of, running_row_of, shown
from queuechat.dialects.ollama.names import untagged
from queuechat.dialects.schemas import ChatRequest
from queuechat.dialects.schemas.ollama import (
    OllamaChatRequest,
    OllamaEmbeddingsRequest,
    OllamaEmbedRequest,
    OllamaGenerateRequest,
    OllamaShowRequest,
)
from queuechat.errors import ModelNotFound, NotFound
from queuechat.roster import Model

SPOKEN = "0.12.11"  #: the release of Ollama whose API this is; some clients want one that is new enough


async def _switched_on(request: Request) -> None:
    if not house_of(request).settings.ollama:
        where = f"{request.method} {request.url.path}"
        raise NotFound(f"there is no {where}: Ollama's API is off; QUEUECHAT_OLLAMA=true switches it on")


router = APIRouter(tags=["Ollama"], dependencies=[Depends(_switched_on)])


@router.get("/", response_class=PlainTextResponse)
@router.head("/", include_in_schema=False)
async def running() -> Response:
    """What Ollama's clients look for."""
    return PlainTextResponse("Ollama is running")


@router.get("/api/version")
async def version() -> Response:
    """The release of Ollama whose API this is, and that of this server."""
    return _json({"version": SPOKEN, "queuechat": __version__})


@router.get("/api/tags")
@router.head("/api/tags", include_in_schema=False)
async def tags(request: Request) -> Response:
    """The models that live workers serve, under all their names."""
    rows = [row_of(name, model.card) for model in _live(request) for name in (model.card.name, *model.card.aliases)]
    return _json({"models": sorted(rows, key=lambda row: str(row["name"]))})


@router.get("/api/ps")
async def ps(request: Request) -> Response:
    """The same: what is served is loaded."""
    return _json({"models": [running_row_of(model.card.name, model.card) for model in _live(request)]})


@router.post("/api/show", openapi_extra=body_of(OllamaShowRequest))
async def show(request: Request) -> Response:
    """One model: how much context it has, and what it can do."""
    body = await intake.checked(request, OllamaShowRequest)
    return _json(shown((await _to_show(request, body.wanted)).card))


@router.post("/api/chat", openapi_extra=body_of(OllamaChatRequest, streams=LINES))
async def chat(request: Request) -> Response:
    """Answer a conversation, as lines of JSON unless `stream` is false."""
    return await _generate(request, OllamaChatRequest, chat=True)


@router.post("/api/generate", openapi_extra=body_of(OllamaGenerateRequest, streams=LINES))
async def generate(request: Request) -> Response:
    """Answer one prompt, as lines of JSON unless `stream` is false."""
    return await _generate(request, OllamaGenerateRequest, chat=False)


@router.post("/api/embed", openapi_extra=body_of(OllamaEmbedRequest))
async def embed(request: Request) -> Response:
    """One vector for each input, in order."""
    return await _embeddings(request, OllamaEmbedRequest)


@router.post("/api/embeddings", openapi_extra=body_of(OllamaEmbeddingsRequest))
async def embeddings(request: Request) -> Response:
    """The vector of one prompt: the older form of /api/embed."""
    return await _embeddings(request, OllamaEmbeddingsRequest)


async def _embeddings(request: Request, kind: type[OllamaEmbedRequest] | type[OllamaEmbeddingsRequest]) -> Response:
    house = house_of(request)
    body, model = await intake.read(request, kind, find=_to_use)
    slip = intake.slip_of(request, house, model, stream=False)
    order = await intake.worked(request, ollama.embedding_order, body, slip, await intake.idem_of(request))
    return WholeAnswer(house, ticket_of(request), order, lambda _: ollama.WholeEmbeddings(body))


async def _generate(
    request: Request, kind: type[OllamaChatRequest] | type[OllamaGenerateRequest], *, chat: bool
) -> Response:
    house, ticket = house_of(request), ticket_of(request)
    body, model = await intake.read(request, kind, find=_to_use)
    idem = await intake.idem_of(request)
    if body.empty:
        return _json(ollama.loaded(body.model, chat=chat))
    asked = await intake.worked(request, ollama.as_openai, body)
    slip = intake.slip_of(request, house, model, stream=body.streams)
    if isinstance(asked, ChatRequest):
        slip = await with_pictures(request, slip, asked)
    else:
        await refuse_long(request, [])
    order = await intake.worked(request, ollama.order_of, body, asked, slip, idem)
    if not body.streams:
        return WholeAnswer(house, ticket, order, lambda id: ollama.WholeLine(order, id, chat=chat))
    hold_s = intake.hold_of(request, house)
    return StreamedAnswer(house, ticket, order, lambda id: LineFrames(order, id, chat=chat), hold_s)


async def _to_use(request: Request, name: str) -> Model:
    """The model of that name; else of the name without its tag, where that is the one Ollama's clients add."""
    try:
        return await model_to_use(request, name)
    except ModelNotFound:
        if untagged(name) == name:
            raise
        return await model_to_use(request, untagged(name))


async def _to_show(request: Request, name: str) -> Model:
    try:
        return await model_to_show(request, name)
    except ModelNotFound:
        if untagged(name) == name:
            raise
        return await model_to_show(request, untagged(name))


def _live(request: Request) -> list[Model]:
    return allowed(ticket_of(request).bearer, house_of(request).roster.census.live)


def _json(body: dict[str, object]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
