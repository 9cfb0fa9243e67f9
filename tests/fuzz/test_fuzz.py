"""A seeded slice of `python -m tests.fuzz`, and whether its parts would see what is wrong."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from api.app import create_app
from api.openapi import EVENTS, LINES
from queuechat.settings import Settings
from tests.fuzz.generator import MOST, Sent, bounded
from tests.fuzz.mutants import Mutants
from tests.fuzz.run import fuzz
from tests.fuzz.tally import Document
from tests.fuzz.watch import STALL_S, Watch

OPERATION = "POST /v1/chat/completions"
FAULT: dict[str, Any] = {
    "error": {"message": "m", "type": "t", "param": None, "code": "c"}, "object": "error", "message": "m", "code": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(_env_file=None), "redis://nowhere").openapi()  # type: ignore[call-arg]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
async def test_no_input_is_answered_by_a_5xx_or_in_a_shape_that_is_not_documented(tmp_path: Path) -> None:
    figures, faults = await fuzz(tmp_path, 1, 400, 1)
    assert faults == []
    assert figures["cases"] >= 400
    assert {"examples", "fuzzing", "mutants"} <= set(figures["cases_by_source"])
    assert figures["cases_by_status"]["2xx"] > 0
    assert figures["5xx"] == 0


def test_an_answer_that_the_document_does_not_tell_of_is_seen(document: dict[str, Any]) -> None:
    told = Document(document)
    assert told.fault(OPERATION, 400, "application/json", FAULT) == ""
    assert "error" in told.fault(OPERATION, 400, "application/json", {"detail": "x"})
    assert "required" in told.fault(OPERATION, 400, "application/json", {**FAULT, "error": {"message": "m"}})
    assert "text/html" in told.fault(OPERATION, 400, "text/html", None)
    assert "choices" in told.fault(OPERATION, 200, "application/json", {"object": "chat.completion", "id": "x"})
    assert "503" in told.fault(OPERATION, 503, "application/json", FAULT)
    assert "302" in told.fault(OPERATION, 302, "", None)


def test_every_operation_tells_of_its_answers_and_of_errors(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert {"4XX", "5XX"} <= set(answers), (method, path)
            assert "422" not in answers, (method, path)
            kinds = answers.get("200", {}).get("content", {})
            assert kinds, (method, path)
            assert all("schema" in kind for media, kind in kinds.items() if media not in (EVENTS, LINES)), (
                method,
                path,
            )
            named = [part[1:-1] for part in path.split("/") if part.startswith("{")]
            assert named == [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"], path
            if method == "post" and path.count("/") == 2 and not path.endswith("}"):
                assert "requestBody" in operation, path


def test_the_same_seed_makes_the_same_mutants() -> None:
    pool = [Sent("GET /v1/files/{id}", "GET", "/v1/files/a", {}, b""), Sent(OPERATION, "POST", "/x", {}, b'{"a":[1]}')]
    fields: dict[str, dict[str, Any]] = {each.operation: {"max_tokens": {}} for each in pool}
    one, same, other = (Mutants(pool, seed, "m", fields) for seed in (1, 1, 2))
    made = [one.next() for _ in range(300)]
    assert made == [same.next() for _ in range(300)]
    assert made != [other.next() for _ in range(300)]
    assert len({sent.body for sent in made}) > 50


def test_a_hook_bounds_tokens_and_leaves_what_is_wrong_as_it_is() -> None:
    fields: dict[str, Any] = {"max_tokens": {}, "model": {}}
    odd: list[Any] = [-1, "9", True, [], 1.5]
    assert bounded({"model": "x", "max_tokens": 10**9}, "m", fields) == {"model": "m", "max_tokens": MOST}
    for wrong in odd:
        assert bounded({"model": "", "max_tokens": wrong}, "m", fields) == {"model": "", "max_tokens": wrong}
    assert bounded({"q": 1}, "m", {}) == {"q": 1}


async def test_a_loop_that_is_held_up_is_seen_with_what_held_it() -> None:
    watch = Watch()
    async with watch.on(), asyncio.timeout(30):
        while not any("_work_for" in step for stall in watch.stalls for step in stall.running):
            await asyncio.sleep(0.02)
            _work_for(3 * STALL_S)  # on a busy machine the watch may come to look only after this
            await asyncio.sleep(0.02)
    assert watch.longest.late_ms > STALL_S * 1000


def _work_for(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass
