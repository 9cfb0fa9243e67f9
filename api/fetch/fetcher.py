"""One image by URL: only from hosts that are allowed, never more than allowed, each redirect looked at anew."""

from __future__ import annotations

import asyncio
from urllib.parse import urljoin

import httpcore

from api.fetch.addresses import networks
from api.fetch.guarded import Forbidden, Guarded, Resolve, resolve
from api.fetch.places import AllowList, NoPlace, Place, place_of
from queuechat.errors import InvalidImage
from queuechat.settings import Settings

MAX_HOPS = 3  #: redirects
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TYPES = frozenset({b"image/png", b"image/jpeg", b"image/jpg", b"image/webp", b"image/gif"})
_HEADERS: dict[bytes | str, bytes | str] = {
    "accept": "image/*",
    "accept-encoding": "identity",
    "user-agent": "queuechat",
}
_CONNECTIONS = 32


class Fetcher:
    """Knows no proxies, cookies or credentials, and keeps no connection."""

    def __init__(self, settings: Settings, resolve: Resolve = resolve):
        self._allowed = AllowList(settings.image_hosts)
        self._limit, self._patience_s = settings.image_limit, settings.image_fetch_s
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=Guarded(networks(settings.image_networks), resolve),
            max_connections=_CONNECTIONS,
            max_keepalive_connections=0,
        )

    async def close(self) -> None:
        await self._pool.aclose()

    async def fetch(self, url: str, where: str) -> bytes:
        """The file that a URL names.

        Raises:
            InvalidImage: it may not be fetched, cannot be, is too large or no image; `param` is `where`.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._follow(url)
        except NoPlace as error:
            raise InvalidImage(f"the URL of `{where}` {error}", param=where) from None
        except Forbidden:
            raise InvalidImage(f"the URL of `{where}` leads to an address that is not public", param=where) from None
        except (httpcore.TimeoutException, TimeoutError):
            raise InvalidImage(f"`{where}` did not come within {self._patience_s:g} s", param=where) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError):
            raise InvalidImage(
                f"`{where}` cannot be fetched: its host does not answer as it should", param=where
            ) from None

    async def _follow(self, url: str) -> bytes:
        for _ in range(MAX_HOPS + 1):
            place = self._admitted(place_of(url))
            found = await self._get(place)
            if isinstance(found, bytes):
                return found
            url = _joined(place.url, found)
        raise NoPlace(f"is redirected more than {MAX_HOPS} times")

    def _admitted(self, place: Place) -> Place:
        if not self._allowed.admits(place):
            raise NoPlace(
                f"leads to {place.scheme}://{place.authority}, from where this server fetches no images: send it as "
                "a data: URL, or let the operator add the host to QUEUECHAT_IMAGE_HOSTS"
            )
        return place

    async def _get(self, place: Place) -> bytes | str:
        """The content, or where it is said to be instead."""
        headers = _HEADERS | {"host": place.authority}
        url = httpcore.URL(
            scheme=place.scheme.encode(), host=place.host.encode(), port=place.port, target=place.target.encode()
        )
        times = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), self._patience_s)}
        async with self._pool.stream("GET", url, headers=headers, extensions=times) as response:
            told = {name.lower(): value for name, value in response.headers}
            if response.status in _REDIRECTS and b"location" in told:
                return told[b"location"].decode("latin-1")
            self._check_head(response.status, told)
            return await self._read(response)

    def _check_head(self, status: int, told: dict[bytes, bytes]) -> None:
        if status != 200:
            raise NoPlace(f"is answered with status {status}")
        kind = told.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind not in _TYPES:
            raise NoPlace("is answered with something that is not PNG, JPEG, WebP or GIF, as its content-type says")
        if told.get(b"content-encoding", b"identity").lower() != b"identity":
            raise NoPlace("is answered with a content-encoding that was not asked for")
        length = told.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._limit:
            raise NoPlace(f"leads to more than {self._limit} bytes")

    async def _read(self, response: httpcore.Response) -> bytes:
        content = bytearray()
        async for part in response.aiter_stream():
            content += part
            if len(content) > self._limit:
                raise NoPlace(f"leads to more than {self._limit} bytes")
        return bytes(content)


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError:
        raise NoPlace("is redirected to what is no valid URL") from None
