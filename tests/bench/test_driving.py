"""Asking servers that behave in every way: what is heard, when, and what becomes of failures."""

from __future__ import annotations

import asyncio

import pytest

from queuechat.bench.connections import Server
from queuechat.bench.driving import Pace, Run, drive
from queuechat.bench.streaming import Reading
from queuechat.bench.target import Endpoint, Target, served, with_model
from queuechat.bench.workload import Ask
from queuechat.errors import InvalidRequest, Misconfigured, ModelNotFound
from tests.bench.answering import DONE, HELD, USAGE, answering, delta, frame, refusal, stream

WHOLE = stream(delta(""), delta("a"), delta("b") + delta("c"), delta("", "length"), USAGE, DONE)
ASKS = [Ask("hello", 3)] * 4


async def driven(answers: list[bytes], pace: Pace | None = None, count: int = 1) -> Run:
    async with answering(answers) as url:
        return await drive([Target(url, "m")], ASKS[:1] * count, pace or Pace())


async def test_a_stream_is_read_to_its_end_and_counted_by_the_server() -> None:
    (reading,) = (await driven([WHOLE])).readings
    assert (reading.failure, reading.finish_reason) == (None, "length")
    assert (reading.prompt_tokens, reading.output_tokens, len(reading.times)) == (7, 3, 3)
    assert reading.due <= reading.sent <= reading.times[0] <= reading.times[1] <= reading.ended


async def test_frames_may_be_cut_anywhere() -> None:
    reading = Reading(0.0)
    reading.begin(200)
    raw = b": waiting\n" + delta("") + delta("ä").replace(b"\n", b"\r\n") + delta("b", "stop") + USAGE + DONE
    for place in range(len(raw)):
        reading.feed(raw[place : place + 1], float(place))
    reading.end()
    assert (reading.failure, list(map(bool, reading.times)), reading.output_tokens) == (None, [True, True], 3)
    assert reading.times[1] < reading.ended < len(raw)


async def test_thoughts_and_tool_calls_are_chunks_too() -> None:
    reading = Reading(0.0)
    reading.begin(200)
    for part in ({"reasoning_content": "hm"}, {"tool_calls": [{"index": 0}]}, {"content": "a"}, {"role": "assistant"}):
        reading.feed(frame({"choices": [{"delta": part}]}), 1.0)
    reading.end()
    assert len(reading.times) == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal("429 Too Many Requests", {"code": "queue_full"}), "HTTP 429 queue_full"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>", "HTTP 502"),
        (stream(delta("a"), frame({"error": {"code": "job_failed"}})), "error in the stream job_failed"),
        (stream(delta("a"), complete=False), "the connection broke off"),
        (stream(delta("a")), "the stream broke off"),
        (stream(delta("", "stop"), DONE), "an answer without any token"),
        (stream(b"data: {oops\n\n"), "a frame that is not JSON"),
        (b"what?\r\n\r\n", "the answer is not HTTP"),
        (b"", "the connection broke off"),
    ],
)
async def test_a_failure_is_told_by_its_kind(answer: bytes, kind: str) -> None:
    (reading,) = (await driven([answer])).readings
    assert (reading.good, reading.failure) == (False, kind)


async def test_a_server_that_is_not_there_is_a_failure_of_each_request() -> None:
    async with answering([WHOLE]) as url:
        pass
    run = await drive([Target(url, "m")], ASKS, Pace())
    assert [reading.failure for reading in run.readings] == ["Connection refused"] * 4


async def test_an_answer_that_does_not_end_in_time_is_a_failure() -> None:
    (reading,) = (await driven([HELD], Pace(timeout_s=0.05))).readings
    assert reading.failure == "no end within 0.05 s"


async def test_a_connection_that_was_closed_while_idle_is_opened_anew() -> None:
    closing = WHOLE.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n")
    run = await driven([WHOLE, b"", WHOLE, closing], count=4)
    assert [reading.failure for reading in run.readings] == [None] * 4


async def test_warm_up_is_in_no_figure() -> None:
    async with answering([refusal("503 Busy", {"code": "warming"}), WHOLE]) as url:
        run = await drive([Target(url, "m")], ASKS[:1], Pace(), warm_up=ASKS[:1])
    assert [reading.failure for reading in run.readings] == [None]
    assert run.warm_up_errors == {"HTTP 503 warming": 1}


async def test_a_closed_loop_has_so_many_under_way_and_an_open_one_does_not_wait() -> None:
    under_way = most = 0
    together = asyncio.Barrier(1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        await reader.readuntil(b"\r\n\r\n")
        under_way += 1
        most = max(most, under_way)
        await together.wait()
        under_way -= 1
        writer.write(WHOLE.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n"))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        target = Target(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "m")
        for pace, expected in ((Pace(3), 3), (Pace(rate=1e6), 12), (Pace(rate=1e6, max_concurrency=6), 6)):
            most, together = 0, asyncio.Barrier(expected)
            run = await drive([target], ASKS * 3, pace)
            assert (most, len(run.good)) == (expected, 12)


async def test_what_an_endpoint_cannot_take_is_refused_before_anything_is_sent() -> None:
    chat, completions = (Target("http://h", "m", endpoint) for endpoint in Endpoint)
    with pytest.raises(InvalidRequest, match="--endpoint completions"):
        chat.body(Ask([1, 2], 3))
    with pytest.raises(InvalidRequest, match="--endpoint chat"):
        completions.body(Ask([{"role": "user", "content": "a"}], 3))
    assert b'"prompt":[1,2]' in completions.body(Ask([1, 2], 3))


@pytest.mark.parametrize("url", ["", "host:80", "ftp://host", "http://", "http://host:http", "http://[::1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="http://HOST:PORT"):
        Server(url)


def models(*rows: dict[str, str]) -> bytes:
    body = frame({"data": rows})[6:-2]
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


async def test_the_model_is_the_only_one_that_there_is_aliases_not_counted() -> None:
    rows = ({"id": "m", "root": "m"}, {"id": "alias", "root": "m"})
    async with answering([models(*rows)]) as url:
        assert (await with_model(Target(url))).model == "m"
    async with answering([models({"id": "m", "root": "/models/m"})]) as url:  # as vLLM has it
        assert await served(Target(url)) == ["m"]
    async with answering([models({"id": "a"}, {"id": "b"})]) as url:
        with pytest.raises(ModelNotFound, match=r"a, b: choose one"):
            await with_model(Target(url))
        assert (await with_model(Target(url, "b"))).model == "b"
    async with answering([refusal("401 Unauthorized", {"code": "invalid_api_key"})]) as url:
        with pytest.raises(Misconfigured, match="answered 401"):
            await with_model(Target(url))


def test_a_target_never_shows_its_headers() -> None:
    assert "secret" not in repr(Target("http://h", "m", headers={"Authorization": "Bearer secret"}))
