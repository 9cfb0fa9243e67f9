"""Images in chats: what reaches the worker, and what is refused before the queue."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from queuechat.bus import Bus
from tests.api.hand import Hand
from tests.api.site import Site, a_site
from tests.api.test_refusals import CHAT, check

LIMIT = 30_000


@pytest.fixture
async def seer(bus: Bus, model: str) -> AsyncIterator[Hand]:
    async with Hand(bus, model, vision=True) as hand:
        yield hand


@pytest.fixture(scope="module")
async def small(redis_url: str) -> AsyncIterator[Site]:
    """A server with narrow limits."""
    limits = {
        "image_count": 2,
        "image_limit": LIMIT,
        "image_total": 45_000,
        "image_pixels": 10_000,
        "body_limit": 4000,
        "ollama": True,
    }
    async with a_site(redis_url, drain_s=0, **limits) as opened:
        yield opened


def picture(form: str = "PNG", size: tuple[int, int] = (6, 4)) -> bytes:
    file = BytesIO()
    frames = [Image.new("RGB", size, "blue")] if form == "GIF" else []
    Image.new("RGB", size, "red").save(file, form, **({"save_all": True, "append_images": frames} if frames else {}))
    return file.getvalue()


def noise(bytes: int) -> bytes:
    """A file that is so long and begins as an image does."""
    return picture() + b"\0" * (bytes - len(picture()))


def data(file: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(file).decode()}"


def part(url: str, **fields: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def asks(model: str, *parts: Any, role: str = "user", **fields: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "look"}, *parts]
    return {"model": model, "messages": [{"role": role, "content": content}], **fields}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_an_image_reaches_the_worker_as_it_was_sent(site: Site, seer: Hand, form: str) -> None:
    file = picture(form)
    told: list[Any] = []

    async def answer(hand: Hand, claim: Any) -> None:
        told.append(claim.job)
        await hand.say(claim, "red")
        await hand.end(claim)

    seer.always(answer)
    response = await site.post(CHAT, asks(seer.model, part(data(file, f"image/{form.lower()}"))))
    assert response.status_code == 200, response.text
    (job,) = told
    assert [base64.b64decode(image) for image in job.images] == [file]
    assert job.messages == [{"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image"}]}]


async def test_a_bare_string_is_a_url_and_detail_is_named_as_ignored(site: Site, seer: Hand) -> None:
    seer.always(lambda hand, claim: hand.end(claim))
    bare = {"type": "image_url", "image_url": data(picture())}
    plain = await site.post(CHAT, asks(seer.model, bare, part(data(picture()), detail="auto")))
    assert "x-queuechat-ignored" not in plain.headers
    fine = await site.post(CHAT, asks(seer.model, bare, part(data(picture()), detail="high")))
    assert (fine.status_code, fine.headers["x-queuechat-ignored"]) == (200, "image_url.detail")


async def test_each_choice_has_the_images(site: Site, seer: Hand) -> None:
    claims: list[Any] = []

    async def answer(hand: Hand, claim: Any) -> None:
        claims.append(claim)
        await hand.end(claim)

    seer.always(answer)
    await site.post(CHAT, asks(seer.model, part(data(picture())), n=2))
    assert [len(claim.job.images) for claim in claims] == [1, 1]


async def test_a_model_that_reads_text_only_refuses_an_image_before_the_queue(site: Site, hand: Hand) -> None:
    response = await site.post(CHAT, asks(hand.model, part(data(picture()))))
    message = check(response, 400, "unsupported_parameter", "messages[0].content[1]")
    assert "vision" in message
    assert (await hand.bus.connection.insist([("XLEN", f"qc:{{{hand.model}}}:jobs")])) == [0]


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 400 million pixels."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"")))
    packed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


BAD: dict[str, tuple[str, str]] = {
    "no base64": ("data:image/png;base64,!!!!", "base64"),
    "half base64": ("data:image/png;base64,AAA", "base64"),
    "nothing": ("data:image/png;base64,", "can be read"),
    "text": ("data:text/plain;base64,AAAA", "data:image/png"),
    "plain": ("data:image/png,AAAA", "data:image/png"),
    "cut": ("data:", "data:image/png"),
    "svg": (data(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"), "can be read"),
    "pdf": (data(b"%PDF-1.7", "image/png"), "can be read"),
    "tiff": (data(b"II*\0" + b"\0" * 40, "image/tiff"), "can be read"),
    "bmp": (data(b"BM" + b"\0" * 60, "image/bmp"), "can be read"),
    "eps": (data(b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/png"), "can be read"),
    "bomb": (data(bomb()), "pixels"),
    "wide": (data(picture(size=(101, 100))), "10000"),
    "large": (data(noise(LIMIT + 1)), f"{LIMIT}"),
    "url": ("https://cdn.test/cat.png", "QUEUECHAT_IMAGE_HOSTS"),
    "metadata": ("http://169.254.169.254/latest/meta-data", "QUEUECHAT_IMAGE_HOSTS"),
    "file": ("file:///etc/passwd", "https://"),
    "path": ("/etc/passwd", "https://"),
}


@pytest.mark.parametrize("kind", list(BAD))
async def test_what_is_no_image_or_too_much_of_one_is_refused_by_name(small: Site, seer: Hand, kind: str) -> None:
    url, told = BAD[kind]
    response = await small.post(CHAT, asks(seer.model, part(data(picture())), part(url)))
    assert told in check(response, 400, "invalid_image", "messages[0].content[2]")


async def test_more_images_than_allowed_are_refused(small: Site, seer: Hand) -> None:
    response = await small.post(CHAT, asks(seer.model, *[part(data(picture()))] * 3))
    assert "may have 2 images" in check(response, 400, "invalid_image", "messages[0].content[3]")


@pytest.mark.parametrize(("parts", "n"), [(2, 1), (1, 2)])
async def test_all_images_count_against_one_limit_once_for_each_choice(
    small: Site, seer: Hand, parts: int, n: int
) -> None:
    response = await small.post(CHAT, asks(seer.model, *[part(data(noise(23_000)))] * parts, n=n))
    assert "45000" in check(response, 400, "invalid_image", "messages")


@pytest.mark.parametrize("role", ["system", "assistant"])
async def test_only_users_show_images(site: Site, seer: Hand, role: str) -> None:
    response = await site.post(CHAT, asks(seer.model, part(data(picture())), role=role))
    assert "role user" in check(response, 400, "invalid_value", "messages[0]")


@pytest.mark.parametrize(
    ("image", "param", "code"),
    [
        ({"type": "image_url"}, "image_url", "missing_required_parameter"),
        ({"type": "image_url", "image_url": {}}, "image_url.url", "missing_required_parameter"),
        ({"type": "image_url", "image_url": 5}, "image_url", "invalid_value"),
        ({"type": "image_url", "image_url": ""}, "image_url", "invalid_value"),
        ({"type": "image_url", "image_url": {"url": 5}}, "image_url.url", "invalid_value"),
        ({"type": "image_url", "image_url": {"url": "x", "detail": "most"}}, "image_url.detail", "invalid_value"),
    ],
    ids=str,
)
async def test_a_part_that_is_made_wrong_names_its_field(
    site: Site, seer: Hand, image: Any, param: str, code: str
) -> None:
    check(await site.post(CHAT, asks(seer.model, image)), 400, code, f"messages[0].content[1].{param}")


async def test_room_for_images_is_no_room_for_anything_else(small: Site, seer: Hand) -> None:
    seer.always(lambda hand, claim: hand.end(claim))
    picture_of_size = part(data(noise(20_000)))
    assert (await small.post(CHAT, asks(seer.model, picture_of_size))).status_code == 200
    check(await small.post(CHAT, asks(seer.model, user="word " * 900)), 413, "request_too_large")
    check(await small.post(CHAT, asks(seer.model, picture_of_size, stop=["[" * 9] * 500)), 413, "request_too_large")
    check(await small.post(CHAT, asks(seer.model, *[part(data(noise(29_000)))] * 4)), 413, "request_too_large")


async def test_what_an_ended_request_has_shown_is_not_kept(site: Site, seer: Hand) -> None:
    seer.always(lambda hand, claim: hand.end(claim))
    kept = []
    for size in (1000, 400_000):
        response = await site.post(CHAT, asks(seer.model, part(data(noise(size)))))
        job = f"qc:{{{seer.model}}}:job:{response.headers['x-queuechat-request-id']}"
        kept += await seer.bus.connection.insist([("HEXISTS", job, "job")])
    assert kept == [1, 0]


LETTERS = "A" * 20_000  # which could be the base64 of an image
OVER: list[tuple[str, dict[str, Any]]] = [
    (CHAT, {"messages": [{"role": "user", "content": LETTERS}]}),
    (CHAT, {"messages": [{"role": "user", "content": "hi"}], "junk": LETTERS}),
    ("/v1/responses", {"input": LETTERS}),
    ("/v1/responses/input_tokens", {"input": LETTERS}),
    ("/v1/messages", {"messages": [{"role": "user", "content": LETTERS}], "max_tokens": 1}),
    ("/tokenize", {"prompt": LETTERS}),
    ("/api/generate", {"prompt": LETTERS, "raw": True}),
    ("/api/chat", {"messages": [{"role": "user", "content": LETTERS}]}),
]


@pytest.mark.parametrize(("path", "fields"), OVER)
async def test_text_that_looks_like_an_image_counts_as_text(
    small: Site, seer: Hand, path: str, fields: dict[str, Any]
) -> None:
    answer = await small.post(path, {"model": seer.model, **fields})
    assert (answer.status_code, "images not counted" in answer.text) == (413, True), answer.text[:300]


LOOK = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(noise(9000)).decode()}
COUNTED: list[tuple[str, dict[str, Any]]] = [
    ("/tokenize", {"messages": [{"role": "user", "content": [part(data(noise(9000)))]}]}),
    ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": [{"type": "image", "source": LOOK}]}]}),
    (
        "/v1/responses/input_tokens",
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": data(noise(9000))}]}]},
    ),
]


@pytest.mark.parametrize(("path", "fields"), COUNTED)
async def test_what_only_counts_tokens_has_room_for_images_too(
    small: Site, seer: Hand, path: str, fields: dict[str, Any]
) -> None:
    asked = asyncio.create_task(small.post(path, {"model": seer.model, **fields}))
    while not (claims := await seer.bus.claim(seer.model, "reader", "reader/0.a", room=0, reads_room=1, turn=1)):
        assert not asked.done(), asked.result().text
        await asyncio.sleep(0.01)
    assert [base64.b64decode(image) for image in claims[0].job.images] == [noise(9000)]
    asked.cancel()
