"""Batches from the upload to the result, through API, arq and a worker."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import openai
import pytest

from queuechat import keys
from queuechat.batches import Batch, add_batch, get_batch, new_batch_id
from queuechat.bus.chores import Chores
from queuechat.dialects.lines import Line
from queuechat.protocol import choice_id
from tests.background.plant import CHAT, Plant, request, text_of
from tests.service.site import MODEL
from workers.background.asking import line_id


async def test_every_line_is_answered_once_and_counted(plant: Plant) -> None:
    batch = await plant.begin([request(k, tokens=k % 5 + 1) for k in range(40)], metadata={"night": "1"})
    assert batch.status == "validating"
    ended = await plant.ended(batch)
    assert (ended.status, ended.error_file_id, ended.metadata, ended.model) == (
        "completed",
        None,
        {"night": "1"},
        MODEL,
    )
    assert ended.request_counts
    assert ended.request_counts.to_dict() == {"total": 40, "completed": 40, "failed": 0}
    times = (ended.created_at, ended.in_progress_at, ended.finalizing_at, ended.completed_at)
    assert list(times) == sorted(times)  # type: ignore[type-var]
    records = await plant.records(ended.output_file_id)
    assert [r["custom_id"] for r in records] == [f"line-{k}" for k in range(40)]
    assert [len(text_of(r).split()) for r in records] == [k % 5 + 1 for k in range(40)]
    assert all(r["error"] is None and r["response"]["status_code"] == 200 for r in records)
    assert ended.usage
    assert ended.usage.output_tokens == sum(k % 5 + 1 for k in range(40))


async def test_a_line_is_answered_as_the_api_answers(plant: Plant) -> None:
    line = request(1, n=2, seed=7)
    ended = await plant.ended(await plant.begin([line]))
    (record,) = await plant.records(ended.output_file_id)
    asked = await plant.sdk.chat.completions.create(**line["body"])
    told = record["response"]["body"]
    assert told["choices"] == json.loads(asked.to_json())["choices"] == asked.to_dict()["choices"]
    assert told["usage"] == asked.to_dict()["usage"]


@pytest.mark.parametrize(
    ("url", "body"), [("/v1/completions", {"prompt": ["a", "b"]}), ("/v1/embeddings", {"input": ["a", "b"]})]
)
async def test_other_endpoints_work_too(plant: Plant, url: Any, body: dict[str, Any]) -> None:
    line = {"custom_id": "x", "method": "POST", "url": url, "body": {"model": MODEL, **body}}
    ended = await plant.ended(await plant.begin([line], endpoint=url))
    (record,) = await plant.records(ended.output_file_id)
    found = record["response"]["body"]
    assert [row["index"] for row in found.get("choices") or found["data"]] == [0, 1]


async def test_responses_are_answered_and_not_stored(plant: Plant) -> None:
    url: Any = "/v1/responses"
    bodies: list[dict[str, Any]] = [{"input": "a"}, {"input": "b", "previous_response_id": "resp_x"}]
    limit = {"model": MODEL, "max_output_tokens": 3}
    lines = [{"custom_id": f"{k}", "method": "POST", "url": url, "body": limit | bodies[k]} for k in (0, 1)]
    ended = await plant.ended(await plant.begin(lines, endpoint=url))
    (record,) = await plant.records(ended.output_file_id)
    (refused,) = await plant.records(ended.error_file_id)
    found = record["response"]["body"]
    assert (found["object"], found["status"], found["store"]) == ("response", "incomplete", False)
    assert len(found["output"][0]["content"][0]["text"].split()) == 3
    assert refused["response"]["body"]["error"]["param"] == "previous_response_id"
    assert ended.usage
    assert ended.usage.output_tokens == 3
    with pytest.raises(openai.NotFoundError):
        await plant.sdk.responses.retrieve(found["id"])


async def test_what_the_api_would_refuse_is_a_line_of_the_error_file(plant: Plant) -> None:
    lines = [
        request(0),
        request(1, temperature=9),
        request(2, model="nobody"),
        request(3, stream=True),
        request(4, logit_bias={"5": 1}),  # refused by the engine itself
    ]
    ended = await plant.ended(await plant.begin(lines))
    assert ended.status == "completed"
    assert ended.request_counts
    assert ended.request_counts.to_dict() == {"total": 5, "completed": 1, "failed": 4}
    errors = await plant.records(ended.error_file_id)
    assert [r["custom_id"] for r in errors] == ["line-1", "line-2", "line-3", "line-4"]
    seen = [(r["response"]["status_code"], r["response"]["body"]["error"]["param"]) for r in errors]
    assert seen == [(400, "temperature"), (404, "model"), (400, "stream"), (400, "logit_bias")]


@pytest.mark.parametrize(("scope", "status"), [(["other-*", "x"], 403), ([f"{MODEL[:3]}*"], 200)])
async def test_a_line_for_a_model_that_the_key_may_not_use_is_refused(
    plant: Plant, scope: list[str], status: int
) -> None:
    content = "".join(json.dumps(line) + "\n" for line in (request(0), request(1, model="nobody"))).encode()
    file = await plant.sdk.files.create(file=("in.jsonl", content), purpose="batch")
    now = int(time.time())
    made = Batch(new_batch_id(), "", CHAT, file.id, "24h", now, now + 600, models=scope)
    await add_batch(plant.bus, made)
    chores = Chores(plant.here.url)
    await chores.add("advance", made.id, id=f"{made.id}:0")
    await chores.close()
    ended = await plant.ended(await plant.sdk.batches.retrieve(made.id))
    records = [*await plant.records(ended.output_file_id), *await plant.records(ended.error_file_id)]
    told = {record["custom_id"]: record["response"] for record in records}
    assert [told[f"line-{k}"]["status_code"] for k in (0, 1)] == [status, 404]
    assert MODEL not in told["line-1"]["body"]["error"]["message"]


async def refused(plant: Plant, content: bytes, endpoint: Any = CHAT) -> list[tuple[Any, ...]]:
    file = await plant.sdk.files.create(file=("in", content), purpose="batch")
    batch = await plant.sdk.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    ended = await plant.ended(batch)
    assert ended.status == "failed"
    assert ended.failed_at
    assert ended.errors
    assert ended.errors.data
    assert all(error.message for error in ended.errors.data)
    return [(error.code, error.line, error.param) for error in ended.errors.data]


async def test_a_file_with_broken_lines_fails_as_a_whole_and_says_where(plant: Plant) -> None:
    good = json.dumps(request(1)).encode()
    rows: list[bytes | dict[str, Any]] = [
        good,
        b"{",
        b"[]",
        b"",
        {**request(2), "custom_id": None},
        {**request(3), "url": "/v1/completions"},
        {**request(4), "method": "GET"},
        {**request(5), "body": "x"},
        good,
    ]
    content = b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    assert await refused(plant, content) == [
        ("invalid_json_line", 2, None),
        ("invalid_json_line", 3, None),
        ("missing_required_parameter", 5, "custom_id"),
        ("invalid_url", 6, "url"),
        ("invalid_method", 7, "method"),
        ("invalid_request", 8, "body"),
        ("duplicate_custom_id", 9, "custom_id"),
    ]


async def test_a_file_without_requests_or_with_too_many_is_no_batch(plant: Plant) -> None:
    assert await refused(plant, b"\n \n") == [("empty_batch", None, None)]
    many = b"".join(
        b'{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{}}\n' % k for k in range(50_001)
    )
    assert await refused(plant, many) == [("too_many_tasks", None, None)]


async def test_a_cancelled_batch_keeps_its_answers_and_tells_of_the_others(plant: Plant) -> None:
    batch = await plant.begin([request(k, tokens=100) for k in range(60)])
    await plant.when(batch, lambda seen: bool(seen.request_counts and seen.request_counts.completed))
    asked = await plant.sdk.batches.cancel(batch.id)
    assert (asked.status, asked.cancelling_at is not None) == ("cancelling", True)
    ended = await plant.ended(batch)
    assert (ended.status, ended.cancelled_at is not None) == ("cancelled", True)
    answers, errors = await plant.records(ended.output_file_id), await plant.records(ended.error_file_id)
    assert answers
    assert {r["error"]["code"] for r in errors} == {"batch_cancelled"}
    assert sorted(r["custom_id"] for r in (*answers, *errors)) == sorted(f"line-{k}" for k in range(60))
    depth = await plant.bus.depth(MODEL)
    assert depth.bulk_waiting == 0
    with pytest.raises(openai.ConflictError):
        await plant.sdk.batches.cancel(batch.id)


async def test_who_waits_for_an_answer_does_not_wait_for_a_line_to_end(plant: Plant) -> None:
    batch = await plant.begin([request(k, tokens=8000) for k in range(40)])
    while (await plant.bus.depth(MODEL)).running < 8:  # half of the places of the worker
        await asyncio.sleep(0.05)
    asked = request(0, tokens=5)["body"]
    answers = await asyncio.gather(*(plant.sdk.chat.completions.create(**asked) for _ in range(8)))
    assert [answer.choices[0].finish_reason for answer in answers] == ["length"] * 8
    seen = await plant.sdk.batches.retrieve(batch.id)
    assert seen.request_counts
    assert (seen.status, seen.request_counts.completed) == ("in_progress", 0)
    assert (await plant.bus.depth(MODEL)).running == 8
    await plant.sdk.batches.cancel(batch.id)
    await plant.ended(batch)


async def test_a_batch_whose_time_ends_keeps_its_answers(plant: Plant) -> None:
    lines = [request(0, tokens=1), *(request(k, tokens=8000) for k in range(1, 30))]
    ended = await plant.ended(await plant.begin(lines, window="4s"))
    assert (ended.status, ended.expired_at is not None) == ("expired", True)
    assert [r["custom_id"] for r in await plant.records(ended.output_file_id)] == ["line-0"]
    errors = await plant.records(ended.error_file_id)
    assert {r["error"]["code"] for r in errors} == {"batch_expired"}
    assert len(errors) == 29


async def test_the_input_may_be_deleted_while_the_batch_runs(plant: Plant) -> None:
    batch = await plant.begin([request(k, tokens=100) for k in range(20)])
    await plant.when(batch, lambda seen: seen.status == "in_progress")
    await plant.sdk.files.delete(batch.input_file_id)
    assert (await plant.ended(batch)).status == "completed"


async def test_results_expire_when_they_are_told_to(plant: Plant) -> None:
    rule: Any = {"anchor": "created_at", "seconds": 3600}
    ended = await plant.ended(await plant.begin([request(0)], output_expires_after=rule))
    file = await plant.sdk.files.retrieve(str(ended.output_file_id))
    assert (file.purpose, file.expires_at) == ("batch_output", file.created_at + 3600)


async def test_nothing_of_an_ended_batch_is_left_beside_its_files(plant: Plant) -> None:
    ended = await plant.ended(await plant.begin([request(0)]))
    assert not (plant.folder / "files" / "parts" / ended.id).exists()
    assert (await get_batch(plant.bus, ended.id)).ended


async def test_what_a_line_left_in_redis_goes_like_that_of_others_once_its_result_is_kept(plant: Plant) -> None:
    batch = await plant.begin([request(1, n=2), request(2, tokens=8000)])

    first, second = (line_id(batch.id, Line(number, "", "", b"")) for number in (1, 2))
    names = [keys.log(MODEL, id) for id in (choice_id(first, 0), choice_id(first, 1), second)]

    async def left_s() -> list[int]:
        return sorted([await plant.bus.connection.command("TTL", name) for name in names])

    async with asyncio.timeout(30):
        while not ((found := await left_s())[0] == -1 and 0 < found[1] <= found[2] <= keys.LOG_S):
            await asyncio.sleep(0.05)
    await plant.sdk.batches.cancel(batch.id)
    ended = await plant.ended(batch)
    assert ended.status == "cancelled"
    assert (await left_s())[2] > keys.LOG_S, "its result was never kept"
