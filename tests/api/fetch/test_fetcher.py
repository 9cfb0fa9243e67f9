"""Fetching over real sockets: a server on loopback, and names that lead where the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from api.fetch.fetcher import Fetcher
from queuechat.errors import InvalidImage
from queuechat.settings import Settings

PNG = b"\x89PNG\r\n\x1a\n and so on"
WHERE = "messages[0].content[1]"


@dataclass
class Web:
    """A server that answers each path with the bytes that it was given; `asked` are the heads that came."""

    port: int = 0
    answers: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    names: dict[str, list[list[str]]] = field(default_factory=dict)  #: addresses of a name, by how often it was asked
    looked_up: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        answer = self.answers.get(head.split()[1])
        if answer is None:
            await asyncio.Event().wait()  # never
        assert answer is not None
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        turns = self.names.get(host, [[]])
        if not turns[0]:
            raise OSError("no such name")
        return turns.pop(0) if len(turns) > 1 else turns[0]

    def url(self, path: str, host: str = "cdn.test") -> str:
        return f"http://{host}:{self.port}{path}"


def ok(body: bytes = PNG, *headers: str, kind: str = "image/png") -> bytes:
    lines = ["HTTP/1.1 200 OK", f"content-type: {kind}", *(headers or [f"content-length: {len(body)}"])]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + body


def moved(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    web = Web(names={"cdn.test": [["127.0.0.1"]], "evil.test": [["127.0.0.1"]]})
    tasks: set[asyncio.Task[None]] = set()

    def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(web.serve(reader, writer)))

    server = await asyncio.start_server(come, "127.0.0.1", 0)
    web.port = server.sockets[0].getsockname()[1]
    yield web
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def fetcher(web: Web, *hosts: str, networks: str = "127.0.0.0/8", **settings: object) -> AsyncIterator[Fetcher]:
    allowed = ",".join(hosts or (f"http://cdn.test:{web.port}",))
    async with one_with(web, image_hosts=allowed, image_networks=networks, **settings) as opened:
        yield opened


@asynccontextmanager
async def one_with(web: Web, **settings: object) -> AsyncIterator[Fetcher]:
    opened = Fetcher(Settings(**{"_env_file": None, **settings}), web.resolve)  # type: ignore[arg-type]
    yield opened
    await opened.close()


async def refusal(web: Web, url: str, *hosts: str, **settings: object) -> str:
    async with fetcher(web, *hosts, **settings) as opened:  # type: ignore[arg-type]
        with pytest.raises(InvalidImage) as caught:
            await opened.fetch(url, WHERE)
    assert caught.value.param == WHERE
    return caught.value.message


async def test_an_image_of_an_allowed_host_is_fetched_without_a_word_about_us(web: Web) -> None:
    web.answers["/cat.png?size=2"] = ok()
    async with fetcher(web) as opened:
        assert await opened.fetch(web.url("/cat.png?size=2#x"), WHERE) == PNG
    (head,) = web.asked
    names = {line.split(":")[0].lower() for line in head.splitlines()[1:] if line}
    assert names == {"host", "accept", "accept-encoding", "user-agent"}
    assert f"host: cdn.test:{web.port}" in head.lower()


async def test_proxies_of_the_environment_are_not_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    web.answers["/"] = ok()
    async with fetcher(web) as opened:
        assert await opened.fetch(web.url("/"), WHERE) == PNG


async def test_a_host_that_is_not_listed_is_neither_resolved_nor_asked(web: Web) -> None:
    message = await refusal(web, web.url("/", "evil.test"))
    assert "QUEUECHAT_IMAGE_HOSTS" in message
    assert (web.looked_up, web.asked) == ([], [])


async def test_nothing_is_fetched_by_default(web: Web) -> None:
    async with one_with(web) as opened:
        with pytest.raises(InvalidImage, match="QUEUECHAT_IMAGE_HOSTS"):
            await opened.fetch("https://cdn.test/cat.png", WHERE)
    assert web.looked_up == []


@pytest.mark.parametrize(
    "addresses",
    [[a] for a in ("127.0.0.1", "::1", "10.0.0.5", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1")]
    + [["8.8.8.8", "127.0.0.1"]],
    ids=str,
)
async def test_an_allowed_name_that_leads_inside_is_not_followed(web: Web, addresses: list[str]) -> None:
    web.names["cdn.test"] = [addresses]
    assert "not public" in await refusal(web, web.url("/"), networks="")
    assert web.asked == []


async def test_an_address_in_the_url_is_checked_like_any_other(web: Web) -> None:
    web.names["127.0.0.1"] = [["127.0.0.1"]]
    assert "not public" in await refusal(web, web.url("/", "127.0.0.1"), f"http://*:{web.port}", networks="")
    assert web.asked == []


async def test_what_was_checked_is_connected_to_whatever_the_name_says_next(web: Web) -> None:
    web.names["cdn.test"] = [["127.0.0.1"], ["169.254.169.254"]]
    web.answers["/"] = ok()
    async with fetcher(web) as opened:
        assert await opened.fetch(web.url("/"), WHERE) == PNG
        assert web.looked_up == ["cdn.test"]
        with pytest.raises(InvalidImage, match="not public"):
            await opened.fetch(web.url("/"), WHERE)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_within_the_allowed_hosts_is_followed(web: Web, status: int) -> None:
    web.answers |= {"/a": moved("/b?c", status), "/b?c": ok()}
    async with fetcher(web) as opened:
        assert await opened.fetch(web.url("/a"), WHERE) == PNG


REDIRECTS = [
    *("http://evil.test:{port}/", "http://127.0.0.1:{port}/"),
    *("http://169.254.169.254/latest/meta-data/", "//evil.test/"),
    *("https://cdn.test/", "http://cdn.test/", "http://cdn.test:1/"),
    *("file:///etc/passwd", "gopher://cdn.test/", "ftp://cdn.test/"),
    *("http://cdn.test:{port}@evil.test/", "http://user:word@cdn.test:{port}/"),
    *("http://[::1/", "http://2130706433/", "\\\\evil.test\\"),
    *("http://cdn.test:{port}/ä", "data:image/png;base64,AAAA", "javascript:1"),
]  # fmt: skip


@pytest.mark.parametrize("location", REDIRECTS)
async def test_a_redirect_to_anywhere_else_is_not_followed(web: Web, location: str) -> None:
    web.answers["/a"] = moved(location.format(port=web.port))
    await refusal(web, web.url("/a"))
    assert len(web.asked) == 1
    assert set(web.looked_up) == {"cdn.test"}


async def test_a_redirect_to_a_name_that_leads_inside_is_not_followed(web: Web) -> None:
    web.names["inner.test"] = [["10.0.0.1"]]
    web.answers["/a"] = moved(web.url("/", "inner.test"))
    assert "not public" in await refusal(web, web.url("/a"), f"http://*:{web.port}")
    assert len(web.asked) == 1


async def test_redirects_come_to_an_end(web: Web) -> None:
    web.answers["/a"] = moved("/a")
    assert "more than 3 times" in await refusal(web, web.url("/a"))
    assert len(web.asked) == 4


BAD: dict[str, tuple[bytes, str]] = {
    "missing": (b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", "404"),
    "page": (ok(b"<html>", kind="text/html"), "content-type"),
    "svg": (ok(b"<svg/>", kind="image/svg+xml"), "content-type"),
    "untold": (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", "content-type"),
    "announced": (ok(b"", "content-length: 1001"), "1000 bytes"),
    "unannounced": (ok(b"x" * 1001, "x: y"), "1000 bytes"),
    "chunked": (ok(b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", "transfer-encoding: chunked"), "1000 bytes"),
    "packed": (ok(PNG, f"content-length: {len(PNG)}", "content-encoding: gzip"), "content-encoding"),
    "cut": (ok(PNG, "content-length: 900"), "cannot be fetched"),
    "noise": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "cannot be fetched"),
}


@pytest.mark.parametrize("kind", list(BAD))
async def test_an_answer_that_is_no_image_of_a_good_size_is_refused(web: Web, kind: str) -> None:
    web.answers["/"], told = BAD[kind]
    assert told in await refusal(web, web.url("/"), image_limit=1000)


async def test_a_host_that_never_answers_is_given_up(web: Web) -> None:
    assert "within 0.2 s" in await refusal(web, web.url("/never"), image_fetch_s=0.2)


@pytest.mark.parametrize(
    "spoil", [lambda web: web.names.update({"cdn.test": [[]]}), lambda web: setattr(web, "port", 1)]
)
async def test_a_host_that_is_not_there_is_told(web: Web, spoil: Callable[[Web], None]) -> None:
    spoil(web)
    assert "cannot be fetched" in await refusal(web, web.url("/"))
