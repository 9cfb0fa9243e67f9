"""The UI process: one loop with one bus, one client, and every page's handlers, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import AsyncIterator

import gradio as gr
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from queuechat.bus import Bus
from queuechat.client import Client
from queuechat.dialects.pictures import limits_of
from queuechat.errors import Misconfigured
from queuechat.roster import Roster
from queuechat.settings import Settings
from ui.app import build_app, mount_options
from ui.arena.pairing import read_pairs
from ui.board import Board
from ui.desk import Desk
from ui.gate.opening import Entrance, an_entrance
from ui.headers import Headers
from ui.patches import patch
from ui.uploads import Uploads, private_folder

log = logging.getLogger(__name__)

_FAREWELL_S = 2.0  # for running answers to be cancelled in Redis and told so to their pages
_CLOSE_S = 2  # for open connections after that


def run(settings: Settings, redis_url: str) -> None:
    """Serve the page in the foreground until SIGTERM or SIGINT.

    Raises:
        BusUnavailable: Redis does not answer.
        Misconfigured: the address cannot be listened on, or Redis cannot be used.
    """
    asyncio.run(_run(settings, redis_url))


async def _run(settings: Settings, redis_url: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, redis_url, stop)


async def serve(settings: Settings, redis_url: str, stop: asyncio.Event) -> None:
    """Serve the page until `stop` is set."""
    with _listen(settings.host, settings.ui_port) as listener:
        async with _desk(settings, redis_url) as (desk, entrance):
            private_folder()
            patch()
            blocks, options = build_app(desk), mount_options(max(settings.image_limit, settings.text_limit))
            beside = Starlette(routes=entrance.routes)
            app = gr.mount_gradio_app(beside, blocks, "/", auth_dependency=entrance.known, **options)
            _tell(listener, settings)
            await _serve_until(stop, app, Headers(entrance.guarded(app)), listener, desk)


@contextlib.asynccontextmanager
async def _desk(settings: Settings, redis_url: str) -> AsyncIterator[tuple[Desk, Entrance]]:
    pairs, uploads = read_pairs(settings.arena_pairs), Uploads()
    bus = await Bus(redis_url).open()
    try:
        async with (
            Client(bus, queue_limit=settings.queue_limit, grace_s=settings.grace_s) as client,
            Roster(bus) as roster,
            Board(bus, roster, unlisted=_guard(settings)) as board,
            an_entrance(settings, bus, client, roster, uploads) as entrance,
        ):
            desk = Desk(
                client,
                roster,
                board,
                deadline_s=settings.deadline_s,
                api_port=settings.api_port,
                limits=limits_of(settings),
                text_limit=settings.text_limit,
                record_chats=settings.record_chats,
                gate=entrance.gate,
                pairs=pairs,
                uploads=uploads,
            )
            yield desk, entrance
    finally:
        await bus.close()


def _guard(settings: Settings) -> str:
    """The model that judges questions, and so answers none."""
    return settings.ui_moderation_model if settings.ui_moderation == "guard" else ""


def _tell(listener: socket.socket, settings: Settings) -> None:
    host, port = listener.getsockname()[:2]
    log.info("the page is at http://%s:%d", host, port)
    if settings.ui_login == "none" and not ipaddress.ip_address(host).is_loopback:
        log.warning(
            "ANYONE who can reach %s may use the models: the page has no login and asks for no API key. "
            "Set QUEUECHAT_UI_LOGIN, or listen on 127.0.0.1",
            host,
        )


async def _serve_until(
    stop: asyncio.Event, app: Starlette, guarded: ASGIApp, listener: socket.socket, desk: Desk
) -> None:
    # Which proxies are believed is the porch's business.
    config = uvicorn.Config(
        guarded, log_config=None, access_log=False, ws="none", proxy_headers=False, timeout_graceful_shutdown=_CLOSE_S
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await desk.turns.stop_all(_FAREWELL_S)
    _end_heartbeats(app)
    server.should_exit = True
    await serving


def _end_heartbeats(app: Starlette) -> None:
    # An open page holds a stream that ends by this alone; `Blocks.close` does it for launched apps, not for mounted.
    for route in app.routes:
        if isinstance(route, Mount):
            route.app.stop_event.set()  # type: ignore[attr-defined]


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: open pages have to be told before it waits for them."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise Misconfigured(
            f"cannot listen on {host} port {port} ({error.strerror or error}); "
            "another port is chosen with QUEUECHAT_UI_PORT"
        ) from None
