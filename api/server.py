"""The server process: a socket, uvicorn, and an end in which no stream just stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import signal
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.connection import Connection
from api.house import House
from queuechat.errors import Misconfigured, QueuechatError
from queuechat.settings import Settings

log = logging.getLogger(__name__)

_BACKLOG = 2048
_LAST_FRAMES_S = 5  # after the drain: for error frames to reach slow readers


def run(settings: Settings, redis_url: str, *, reuse_port: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; a second signal does not wait for running streams.

    Args:
        reuse_port: let several processes listen on the same port, the kernel spreads connections.

    Raises:
        Misconfigured: the address cannot be listened on, or Redis refuses us.
        BusUnavailable: Redis does not answer.
    """
    app = create_app(settings, redis_url)
    listener = listen(settings.host, settings.api_port, reuse_port=reuse_port)
    server = Server(app, settings)
    # What fails at the start is raised to our caller in one sentence; uvicorn would print its traceback as well.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not hasattr(app.state, "failure"))
    try:
        server.run(sockets=[listener])
    except SystemExit:
        failure = getattr(app.state, "failure", None)
        if isinstance(failure, QueuechatError):
            raise failure from None
        raise
    finally:
        listener.close()


def listen(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """A listening socket. Raises Misconfigured when the address is taken or not ours."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=reuse_port)
    except OSError as error:
        raise Misconfigured(f"cannot listen on {host} port {port}: {error.strerror or error}") from None


class Server(uvicorn.Server):
    """uvicorn, with our way to end: not ready, then drain, then tell who is left."""

    def __init__(self, app: FastAPI, settings: Settings):
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=Connection,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=_LAST_FRAMES_S,
            )
        )
        self._app = app
        self._settings = settings
        self._over = asyncio.Event()

    @property
    def house(self) -> House:
        house: House = self._app.state.house
        return house

    async def main_loop(self) -> None:
        """As uvicorn's, which looks ten times a second whether it is to end; the date header is renewed each second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._over.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what lives as long as the process would hold up the loop at each full collection
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            log.info("listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)
            if not _is_loopback(host):
                await self._warn_if_open(host)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """The port stays open meanwhile, to tell load balancers and new requests that they should go elsewhere."""
        drain = self.house.drain
        if drain.running:
            log.info("draining: %d requests get %g s", drain.running, self._settings.drain_s)
        await drain.finish(self._settings.drain_s)
        await super().shutdown(sockets)

    def stop(self) -> None:
        """First call: drain. Second call: at once."""
        if self.should_exit:
            self.house.drain.hurry()
        self.should_exit = True
        self._over.set()
        self.house.drain.begin()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but the process ends in peace instead of by the signal it was sent."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _warn_if_open(self, host: str) -> None:
        with contextlib.suppress(QueuechatError):
            if not await self.house.keys.needed():
                log.warning(
                    "ANYONE who can reach %s may use this server: there is no API key. "
                    "Make one with `queuechat keys add NAME`, or listen on 127.0.0.1",
                    host,
                )


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
