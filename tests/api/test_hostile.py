"""Input that means harm: a clear refusal in our shape, or a closed connection where HTTP is not spoken; never a 5xx,
and the server goes on for all others."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import orjson
import pytest

from api import connection, limits
from tests.api.hand import Hand
from tests.api.site import Site
from tests.api.test_refusals import CHAT, chat, check
from tests.api.wire import get, post, tell

BAD, SLOW, LARGE, MANY = "invalid_value", "request_timeout", "request_too_large", "headers_too_large"
CHUNKED = b"transfer-encoding: chunked"
FORM = b"content-type: multipart/form-data"


@pytest.fixture(autouse=True)
async def unharmed(site: Site) -> AsyncIterator[None]:
    """Whatever was sent: the server is alive, and nothing is left open or running."""
    yield
    assert (await site.http.get("/livez")).status_code == 200
    while site.house.drain.running:
        await asyncio.sleep(0.01)


def _body(**fields: object) -> bytes:
    return orjson.dumps(chat(**fields))


def _with(raw: bytes) -> bytes:
    """A chat in which `temperature` is written so."""
    return _body()[:-1] + b',"temperature":' + raw + b"}"


BODIES: dict[str, tuple[bytes, int, str]] = {
    "a list": (b"[1]", 400, BAD),
    "a string": (b'"x"', 400, BAD),
    "a number": (b"1", 400, BAD),
    "null": (b"null", 400, BAD),
    "a nul byte": (b"\x00", 400, "invalid_json"),
    "a hundred thousand brackets": (b"[" * 100_000, 400, BAD),
    "objects in objects": (b'{"a":' * 500 + b"1" + b"}" * 500, 400, BAD),
    "NaN": (_with(b"NaN"), 400, "invalid_json"),
    "-Infinity": (_with(b"-Infinity"), 400, "invalid_json"),
    "a number that is no float": (_with(b"1e999"), 400, "invalid_json"),
    "an integer of a hundred thousand digits": (_with(b"9" * 100_000), 400, "invalid_json"),
    "an integer beyond 64 bits": (_body(seed=1)[:-2] + b"18446744073709551616}", 400, BAD),
    "a lone surrogate": (_with(b'"\\ud800"'), 400, "invalid_json"),
    "a byte that is no UTF-8": (_with(b'"\xff"'), 400, "invalid_json"),
    "UTF-16": ('{"model": "m"}'.encode("utf-16"), 400, "invalid_json"),
    "a key twice, the last one wrong": (_body()[:-1] + b',"messages":[]}', 400, BAD),
    "a key twice, the last one of another type": (_body()[:-1] + b',"model":{"$ne":""}}', 400, BAD),
    "a model with a header in its name": (_body(model="m\r\nx-evil: 1"), 404, "model_not_found"),
    "a model with braces and nuls in its name": (_body(model="}:jobs\x00{m"), 404, "model_not_found"),
    "a model of a thousand letters": (_body(model="m" * 1000), 400, BAD),
    "a hundred thousand biases": (_body(logit_bias={str(k): 0 for k in range(90_000)}), 400, BAD),
    "a hundred thousand wrong biases": (_body(logit_bias={f"x{k}": "y" for k in range(60_000)}), 400, BAD),
    "a million biases": (_body(logit_bias={str(k): 0 for k in range(1_000_000)}), 413, LARGE),
    "a hundred thousand stop strings": (_body(stop=["a"] * 100_000), 400, BAD),
    "stop strings that are lists": (_body(stop=[[]] * 100_000), 400, BAD),
    "a million messages": (_body(messages=[{}] * 1_000_000), 413, LARGE),
    "a hundred thousand empty messages": (_body(messages=[{}] * 100_000), 400, BAD),
    "one message too many": (_body(messages=[{"role": "user", "content": "x"}] * 513), 400, BAD),
    "a hundred thousand parts of a message": (
        _body(messages=[{"role": "user", "content": [{}] * 100_000}]), 400, BAD,
    ),
    "a hundred thousand unknown fields, and a wrong one": (
        _body(**{f"k{k}": 0 for k in range(80_000)}, temperature=9), 400, BAD,
    ),
    "a hundred thousand lists in an unknown field": (_body(junk=[[]] * 100_000), 400, BAD),
    "too many tools": (
        _body(tools=[{"type": "function", "function": {"name": f"f{k}"}} for k in range(129)]), 400, BAD,
    ),
    "a tool whose name is a path": (_body(tools=[{"type": "function", "function": {"name": "../f"}}]), 400, BAD),
    "a template's own messages": (_body(chat_template_kwargs={"messages": [], "__class__": 1}), 400, BAD),
    "a role that templates do not know": (_body(messages=[{"role": "<|im_start|>", "content": "x"}]), 400, BAD),
    "choices without number": (_body(guided_choice=["x" * 9] * 50_000), 400, BAD),
}  # fmt: skip


@pytest.mark.parametrize("name", list(BODIES))
async def test_a_hostile_body_is_refused(site: Site, name: str) -> None:
    body, status, code = BODIES[name]
    reply = await tell(site.port, post(CHAT, body))
    assert (reply.status, reply.code) == (status, code), reply.body[:300]
    assert "x-evil" not in reply.headers
    assert len(reply.body) < 2000


def _form(charset: bytes) -> bytes:
    part = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\n\xff\\x\r\n--b--\r\n'
    return post("/v1/files", part, FORM + b"; boundary=b; charset=" + charset)


RAW: dict[str, tuple[bytes, int, str]] = {
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00", 400, BAD),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, BAD),
    "two lengths": (post(CHAT, b"{}", b"content-length: 2", b"content-length: 3"), 400, BAD),
    "a length and chunks": (post(CHAT, b"0\r\n\r\n", b"content-length: 5", CHUNKED), 400, BAD),
    "a negative length": (post(CHAT, b"", b"content-length: -1"), 400, BAD),
    "a length without end": (post(CHAT, b"", b"content-length: " + b"9" * 30), 400, BAD),
    "a length of a terabyte": (post(CHAT, b"", b"content-length: 1000000000000"), 413, LARGE),
    "a chunk without measure": (post(CHAT, b"F" * 20 + b"\r\n", CHUNKED), 400, BAD),
    "a chunk that is no number": (post(CHAT, b"xyz\r\n", CHUNKED), 400, BAD),
    "a compressed body": (post(CHAT, gzip.compress(b" " * (1 << 22)), b"content-encoding: gzip"), 400,
                          "unsupported_parameter"),
    "a form for a body": (post(CHAT, b"model=m", b"content-type: application/x-www-form-urlencoded"), 400,
                          "invalid_json"),
    "ten thousand headers": (get(b"/v1/models", *[b"a: b"] * 10_000), 431, MANY),
    "a hundred and one headers": (get(b"/v1/models", *[b"a: b"] * 101), 431, MANY),
    "a header of 100 KB": (get(b"/v1/models", b"a: " + b"b" * 100_000), 431, MANY),
    "a header without end": (b"GET / HTTP/1.1\r\na: " + b"b" * 1_000_000, 431, MANY),
    "a URL of 100 KB": (get(b"/" + b"a" * 100_000), 431, MANY),
    "a control character in a header": (get(b"/v1/models", b"a: \x01"), 400, BAD),
    "a line end in a header": (get(b"/v1/models", b"a: b\rc: d"), 400, BAD),
    "a space in the name of a header": (get(b"/v1/models", b"a b: c"), 400, BAD),
    "a nul in the path": (get(b"/v1/models/%00"), 404, "model_not_found"),
    "a raw byte in the path": (get(b"/v1/\xff"), 400, BAD),
    "half an escape in the path": (get(b"/v1/files/%f"), 404, "file_not_found"),
    "a path out of the documentation": (get(b"/docs/../../etc/passwd"), 404, "not_found"),
    "an escaped path out of the documentation": (get(b"/docs/%2e%2e%2f%2e%2e%2fetc/passwd"), 404, "not_found"),
    "a path for the id of a file": (get(b"/v1/files/..%2f..%2fetc%2fpasswd"), 404, "not_found"),
    "a path for the content of a file": (get(b"/v1/files/../content"), 404, "file_not_found"),
    "a request that is a pattern": (get(b"/v1/requests/*"), 404, "request_not_found"),
    "an event of a request of nobody": (get(b"/v1/requests/" + b"0" * 32 + b"/events", b"last-event-id: 5.end"), 404,
                                        "request_not_found"),
    "a batch with an odd id": (get(b"/v1/batches/batch_%0d%0a{}"), 404, "batch_not_found"),
    "a limit of many digits": (get(b"/v1/files?limit=" + b"9" * 5000), 400, BAD),
    "a limit that begins small": (get(b"/v1/files?limit=000000001" + b"9" * 5000), 400, BAD),
    "a limit behind zeros": (get(b"/v1/files?limit=00000000199"), 400, BAD),
    "a usage since ever": (get(b"/v1/usage?since=" + b"9" * 5000 + b"d"), 400, BAD),
    "TRACE": (get(b"/v1/models", method=b"TRACE"), 405, "method_not_allowed"),
    "CONNECT": (get(b"x:1", method=b"CONNECT"), 400, BAD),
    "a method that is none": (get(b"/v1/models", method=b"EVIL"), 400, BAD),
    "another method by a header": (get(CHAT.encode(), b"x-http-method-override: POST"), 405, "method_not_allowed"),
    "an empty idempotency key": (post(CHAT, _body(model="nobody"), b"idempotency-key:"), 404, "model_not_found"),
    "a form without boundary": (post("/v1/files", b"x", FORM), 400, BAD),
    "a form that is none": (post("/v1/files", b"x" * 100, FORM + b"; boundary=b"), 400, BAD),
    "a form in no character set": (_form(b"undefined"), 400, BAD),
    "a form in punycode": (_form(b"punycode"), 400, BAD),
    "a form in escapes": (_form(b"unicode_escape"), 400, BAD),
    "a form with an endless boundary": (post("/v1/files", b"x", FORM + b"; boundary=" + b"b" * 5000), 400, BAD),
}  # fmt: skip


@pytest.mark.parametrize("name", list(RAW))
async def test_hostile_bytes_are_refused(site: Site, name: str) -> None:
    data, status, code = RAW[name]
    reply = await tell(site.port, data)
    assert (reply.status, reply.code) == (status, code), reply.body[:300]


@pytest.mark.parametrize("key", [b"\xff", b"x" * 256, b"\xe2\x80\xae"], ids=["no ASCII", "too long", "bidi"])
async def test_an_odd_idempotency_key_is_refused(site: Site, hand: Hand, key: bytes) -> None:
    reply = await tell(site.port, post(CHAT, _body(model=hand.model), b"idempotency-key: " + key))
    assert (reply.status, reply.code) == (400, BAD)


async def test_odd_headers_of_sdks_change_nothing(site: Site, hand: Hand) -> None:
    odd = [b"x-stainless-read-timeout: nan", b"x-stainless-retry-count: " + b"9" * 99, b"x-request-id: {}*"]
    asked = asyncio.create_task(tell(site.port, post(CHAT, _body(model=hand.model), *odd)))
    await hand.tell("yes")
    reply = await asked
    assert (reply.status, reply.headers["x-request-id"] == "{}*") == (200, False)


@pytest.mark.parametrize("begun", [b"", b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\n"], ids=["idle", "line", "headers"])
async def test_a_head_that_does_not_come_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    reply = await tell(site.port, begun, *[b"\r\n" if not begun else b"a" for _ in range(1000)], pause_s=0.05)
    if begun:
        assert (reply.status, reply.code) == (408, SLOW)
    else:
        assert reply.status == 0
    assert (await site.http.get("/livez")).status_code == 200


@pytest.mark.parametrize("kind", [b"content-length: 1000", CHUNKED], ids=["announced", "chunked"])
async def test_a_body_that_does_not_come_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: bytes
) -> None:
    monkeypatch.setattr(limits, "BODY_S", 0.2)
    drops = [b"1\r\n \r\n" if kind == CHUNKED else b" "] * 400
    asked = asyncio.create_task(tell(site.port, post(CHAT, b"", kind), *drops, pause_s=0.05))
    assert (await site.http.get("/livez")).status_code == 200
    reply = await asked
    assert (reply.status, reply.code) == (408, SLOW)


async def _flood(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_a_body_that_goes_on_after_its_refusal_is_cut(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    answer = asyncio.create_task(reader.readuntil(b"40302}"))
    writer.write(post(CHAT, b"", CHUNKED))
    with pytest.raises(ConnectionError):
        await _flood(writer)
    writer.close()
    assert b" 413 " in await answer


async def test_requests_in_one_piece_are_answered_in_order(site: Site) -> None:
    reply = await tell(site.port, get(b"/livez") + get(b"/v1/nothing") + get(b"/version", b"connection: close"))
    assert (reply.status, reply.rest.count(b"HTTP/1.1 404"), reply.rest.count(b"HTTP/1.1 200")) == (200, 1, 1)


async def test_the_body_of_one_request_is_no_part_of_the_next_ones_head(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(post(CHAT, b" " * 60_000))
    writer.write(b"GET /livez HTTP/1.1\r\n")  # in the same piece as the end of that body, and not yet whole
    assert b" 400 " in await reader.readuntil(b"}")
    writer.write(b"host: x\r\nconnection: close\r\n\r\n")
    assert b" 200 " in await reader.read()
    writer.close()


async def test_a_body_that_was_promised_to_who_reads_none_does_not_end_the_answer(
    site: Site, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await site.post("/v1/responses", {"model": hand.model, "input": "x", "background": True})
    monkeypatch.setattr(limits, "BODY_S", 0.05)
    path = f"/v1/responses/{asked.json()['id']}?stream=true".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(get(path, b"content-length: 5"))
    await reader.readuntil(b"response.queued")
    await asyncio.sleep(0.2)  # the body is late by now
    await hand.tell("Hello")
    assert b"Hello" in await asyncio.wait_for(reader.readuntil(b"response.completed"), 10)
    writer.close()


async def test_what_follows_a_request_and_is_none_does_not_spoil_its_answer(site: Site) -> None:
    reply = await tell(site.port, get(b"/livez") + b"\x00\x01\x02\r\n\r\n")
    assert reply.status in (200, 400)


async def test_the_old_http_gets_its_answer_and_an_end(site: Site) -> None:
    reply = await tell(site.port, get(b"/livez", version=b"HTTP/1.0"))
    assert (reply.status, reply.headers["connection"]) == (200, "close")


async def test_a_websocket_is_not_opened(site: Site) -> None:
    asked = [b"upgrade: websocket", b"connection: upgrade", b"sec-websocket-key: eA==", b"sec-websocket-version: 13"]
    reply = await tell(site.port, get(b"/v1/nothing", *asked))
    assert (reply.status, reply.code) == (404, "not_found")


async def test_a_thousand_parts_of_a_form_are_refused(site: Site) -> None:
    part = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    reply = await tell(site.port, post("/v1/files", part * 1000 + b"--b--\r\n", FORM + b"; boundary=b"))
    assert (reply.status, reply.code) == (400, BAD)


@pytest.mark.parametrize("name", ["../../../etc/cron.d/x", "..\\..\\x", "/x", "a/../x"])
async def test_the_name_of_a_file_is_no_path(site: Site, name: str) -> None:
    sent = await site.http.post("/v1/files", data={"purpose": "batch"}, files={"file": (name, b"{}")})
    assert (sent.status_code, sent.json()["filename"]) == (200, "x")
    folder = site.house.store.path(sent.json()["id"]).parent  # type: ignore[attr-defined]
    assert sent.json()["id"] in {path.name for path in folder.iterdir()}
    await site.http.delete(f"/v1/files/{sent.json()['id']}")


async def test_a_schema_in_a_string_nests_no_deeper_than_a_body(site: Site, hand: Hand) -> None:
    hand.card.grammars.append("json_schema")
    object.__setattr__(hand.card, "tool_format", "hermes")
    await hand.beat()
    await site.house.roster.refresh()
    deep = '{"properties":{"a":' * 450 + "{}" + "}}" * 450
    tools = [{"type": "function", "function": {"name": "f"}}]
    answer = await site.post(CHAT, chat(model=hand.model, guided_json=deep, tools=tools))
    assert "32 levels" in check(answer, 400, BAD, "guided_json")
