"""Connections to checked addresses: a name is resolved once, and what was checked is what is connected to."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore

from api.fetch.addresses import Network, reachable

_NAMES = ThreadPoolExecutor(8, "names")  # a name server that does not answer keeps nothing else waiting

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Forbidden(Exception):
    """The name leads to an address that must not be reached."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name.

    Raises:
        OSError: there are none.
    """
    ask = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_NAMES, ask)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Guarded(httpcore.AsyncNetworkBackend):
    """For httpcore, which asks it for every connection: TLS still checks the certificate against the name."""

    def __init__(self, permitted: Sequence[Network], resolve: Resolve = resolve):
        self._permitted, self._resolve = permitted, resolve
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises Forbidden where one of the addresses of the name is out of bounds: then none is trusted."""
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} has no address") from error
        if not addresses or not all(reachable(address, self._permitted) for address in addresses):
            raise Forbidden
        for address in addresses[:-1]:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise Forbidden

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)
