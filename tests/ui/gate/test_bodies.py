"""What the door takes in: nothing at another page's wish, no files of strangers, and no body without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from gradio import processing_utils

from queuechat.bus import Bus
from tests.ui.gate.page import Site, a_site
from tests.ui.scribe import Scribe
from ui.uploads import private_folder


@pytest.fixture
def url(redis_url: str, bus: Bus) -> str:
    """The database of `bus`, which is emptied for each test."""
    return f"{redis_url}/5"


async def upload(site: Site, **headers: str) -> httpx.Response:
    files = {"files": ("notes.md", b"words", "text/markdown")}
    return await site.http.post("/gradio_api/upload", files=files, headers=headers)


async def test_another_page_can_make_a_browser_send_nothing(url: str, bus: Bus) -> None:
    async with Scribe(bus, "m") as scribe, a_site(url) as site:
        for evil in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
            assert (await upload(site, **evil)).status_code == 403
            with pytest.raises(httpx.HTTPStatusError, match="403"):
                await site.ask("hello", **evil)
        assert scribe.jobs == []
        for own in ({"origin": site.url.rstrip("/")}, {"sec-fetch-site": "same-origin"}, {}):
            assert (await upload(site, **own)).status_code == 200
        proxied = {"origin": "https://chat.example", "x-forwarded-host": "chat.example"}
        assert "You said: hello" in await site.ask("hello", **proxied)


async def test_no_file_is_fetched_from_where_a_caller_says(url: str, bus: Bus) -> None:
    asked: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        writer.close()

    elsewhere = await asyncio.start_server(hear, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{elsewhere.sockets[0].getsockname()[1]}/a.txt"
    async with Scribe(bus, "m") as scribe, a_site(url) as site:
        said = await site.ask("read this", files=[address])
        assert "You said" not in str(said)
        assert scribe.jobs == []
        with pytest.raises(ValueError, match="not fetched"):
            await processing_utils.async_ssrf_protected_download(address, "")
    elsewhere.close()
    assert asked == []


async def test_files_are_taken_of_those_who_have_accepted_the_terms(url: str, tmp_path: Path) -> None:
    terms = tmp_path / "terms.md"
    terms.write_text("Be kind.")
    async with a_site(url, ui_terms=terms) as site:
        refused = await upload(site)
        assert (refused.status_code, refused.json()["detail"]) == (403, "accept the terms of use before you ask")
        shown = (await site.http.get("/terms")).json()
        await site.http.post(f"/terms?hash={shown['hash']}")
        assert (await upload(site)).status_code == 200


@pytest.mark.parametrize("counted", [False, True])
async def test_bodies_are_limited_by_what_they_say_and_by_what_comes(url: str, counted: bool) -> None:
    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(0, size, 1 << 16):
            yield b" " * (1 << 16)

    small = {"image_total": 1 << 20, "ui_conversation_limit": 10_000, "image_count": 1, "image_limit": 1 << 20}
    kind = {"content-type": "application/json"}
    async with a_site(url, **small) as site:
        for path, size in (("queue/join", 4 << 20), ("component_server", 4 << 20), ("upload", 4 << 20)):
            body = pieces(size) if counted else b" " * size
            answer = await site.http.post(f"/gradio_api/{path}", content=body, headers=kind)
            if path != "upload" or not counted:  # what is no form, Gradio refuses unread
                assert (answer.status_code, "and has more" in answer.text) == (413, True), path
        body = pieces(1 << 17) if counted else b" " * (1 << 17)
        assert (await site.http.post("/terms", content=body)).status_code in ((409,) if counted else (413,))
        assert (await site.http.get("/config")).status_code == 200


async def test_an_upload_that_is_too_large_or_broken_off_leaves_nothing_behind(url: str) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
    kind = {"content-type": "multipart/form-data; boundary=x"}

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield form + b"y" * (1 << 16) + b"\r\n"

    before = set(private_folder().rglob("*"))
    async with a_site(url, image_count=1, image_limit=1 << 20) as site:
        answer = await site.http.post("/gradio_api/upload", content=endless(), headers=kind)
        assert answer.status_code == 413
        _, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rstrip("/").rpartition(":")[2]))
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: {kind['content-type']}\r\n"
        writer.write(head.encode() + b"Content-Length: 100000\r\n\r\n" + form + b"y" * 1000)
        await writer.drain()
        async with asyncio.timeout(30):
            while set(private_folder().rglob("*")) == before:  # until it is being written
                await asyncio.sleep(0.01)
            writer.close()
            while set(private_folder().rglob("*")) != before:
                await asyncio.sleep(0.01)


async def test_the_same_file_of_two_people_is_there_for_both(url: str, bus: Bus) -> None:
    async with Scribe(bus, "m"), a_site(url, ui_proxies="127.0.0.1") as site:
        (path,) = (await upload(site, **{"x-forwarded-for": "192.0.2.1"})).json()
        assert (await upload(site, **{"x-forwarded-for": "192.0.2.2"})).json() == [path]
        for number, left in ((1, True), (2, False)):
            await site.ask("what?", files=[path], **{"x-forwarded-for": f"192.0.2.{number}"})
            assert (path in map(str, private_folder().rglob("*"))) is left


async def test_who_uploads_and_never_asks_is_stopped(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.gate.receipts.SHARE", 3 << 16)
    async with a_site(url) as site:
        assert [(await upload(site)).status_code for _ in range(4)] == [200, 200, 200, 429]
