"""The app: what is opened, who stands at the door, which routes there are."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from api import docs, openapi, problems
from api.auth import Auth
from api.fetch.fetcher import Fetcher
from api.house import House
from api.limits import BodyLimit, Door
from api.metrics import Metrics
from api.pictures import room_for
from api.routes import (
    anthropic,
    batches,
    chat,
    completions,
    embeddings,
    files,
    health,
    letters,
    models,
    ollama,
    requests,
    responses,
    tokens,
    usage,
)
from queuechat import __version__
from queuechat.allowance import Allowance
from queuechat.bus import Bus
from queuechat.bus.chores import Chores
from queuechat.client import Client
from queuechat.credentials import KeyRing
from queuechat.errors import QueuechatError
from queuechat.files import Directory
from queuechat.following import Following
from queuechat.periodic import Periodic
from queuechat.rates import Rates
from queuechat.roster import Roster
from queuechat.settings import Settings

log = logging.getLogger(__name__)

_FORM_BYTES = 64 << 10  # what a form has beside its file
_WITH_IMAGES = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/tokenize",
    "/v1/tokenize",
    "/api/chat",
    "/api/generate",
)
_EXPOSED = [
    "x-request-id",
    "request-id",
    "x-queuechat-request-id",
    "x-queuechat-ignored",
    "idempotency-replayed",
    *(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
    "retry-after",
    "retry-after-ms",
]


def create_app(settings: Settings, bus_url: str) -> FastAPI:
    """An app that opens its connections when it starts and closes them when it ends."""
    fetcher = Fetcher(settings)
    app = FastAPI(
        title="queuechat",
        version=__version__,
        description="OpenAI's API over a queue in Redis.",
        docs_url=None,
        redoc_url=None,
        lifespan=lambda app: _open(app, settings, bus_url, fetcher),
        middleware=_doors(settings),
        redirect_slashes=False,
    )
    app.add_exception_handler(QueuechatError, problems.on_queuechat_error)
    app.add_exception_handler(HTTPException, problems.on_http_exception)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    families = (
        chat,
        completions,
        responses,
        embeddings,
        requests,
        letters,
        models,
        usage,
        health,
        files,
        batches,
        tokens,
        anthropic,
        ollama,
    )
    for family in families:
        app.include_router(family.router)
    app.state.routes = [route for family in families for route in family.router.routes]
    app.openapi = functools.partial(openapi.document, app)  # type: ignore[method-assign]
    app.openapi()  # whoever asks first must not keep the others waiting
    docs.add_docs(app)
    return app


def _doors(settings: Settings) -> list[Middleware]:
    """Outermost first: browsers must be able to read every answer, so CORS comes before all that can refuse."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    paths = {"/v1/files": settings.file_limit + _FORM_BYTES} | dict.fromkeys(_WITH_IMAGES, room_for(settings))
    inner = [
        Middleware(Door),
        Middleware(BodyLimit, limit=settings.body_limit, paths=paths),
        Middleware(Auth),
    ]
    return [cors, *inner] if settings.cors_origins else inner


async def _expire_unserved(bus: Bus, roster: Roster) -> None:
    """Workers end what is late; where there are none, nobody else would."""
    for name, model in roster.census.models.items():
        if not model.live:
            await bus.expire(name)


@contextlib.asynccontextmanager
async def _open(app: FastAPI, settings: Settings, bus_url: str, fetcher: Fetcher) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        bus = Bus(bus_url)
        stack.push_async_callback(bus.close)
        try:
            await bus.open()
        except QueuechatError as error:
            app.state.failure = error
            raise
        client = await stack.enter_async_context(
            Client(bus, queue_limit=settings.queue_limit, grace_s=settings.grace_s)
        )
        roster = await stack.enter_async_context(Roster(bus))
        await stack.enter_async_context(Periodic(lambda: _expire_unserved(bus, roster), "deadlines of unserved models"))
        keys = KeyRing(
            bus,
            settings.key_pepper.get_secret_value(),
            [key.get_secret_value() for key in settings.api_keys],
            required=settings.require_key,
            concurrency=settings.key_concurrency,
            rpm=settings.key_rpm,
            tpm=settings.key_tpm,
        )
        allowance = await stack.enter_async_context(Allowance(bus))
        following = await stack.enter_async_context(Following(bus))
        chores = Chores(bus_url)
        stack.push_async_callback(chores.close)
        stack.push_async_callback(fetcher.close)
        app.state.house = House(
            *(settings, bus, client, roster, keys, allowance, Rates(bus), following),
            metrics=Metrics(vllm_names=settings.metrics_vllm_names),
            store=Directory(settings.files_dir),
            chores=chores,
            fetcher=fetcher,
        )
        stack.callback(app.state.house.threads.close)
        yield
