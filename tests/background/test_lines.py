"""The lines of a batch on their way in, and its results on their way out."""

from __future__ import annotations

import io
import os
from pathlib import Path

import orjson
import pytest

from queuechat.dialects.lines import read_body, refused
from queuechat.errors import InvalidRequest
from workers.background.asking import Outcome
from workers.background.input import check, remaining
from workers.background.parts import Parts, Reader

URL = "/v1/completions"


def a_line(k: int, prompt: str = "hi") -> bytes:
    line = {"custom_id": f"{k}", "method": "POST", "url": URL, "body": {"model": "m", "prompt": prompt}}
    return orjson.dumps(line) + b"\n"


def test_a_line_that_is_longer_than_a_request_may_be_is_a_fault_of_the_file() -> None:
    found = check(io.BytesIO(a_line(1) + a_line(2, "a" * 1000)), URL, 1000)
    assert [(fault.code, fault.line) for fault in found.faults] == [("request_too_large", 2)]
    assert not check(io.BytesIO(a_line(1)), URL, 1000).faults


def test_what_is_no_request_though_its_file_was_checked_has_an_error_of_its_own() -> None:
    one, two, three = remaining([a_line(1), b"{\n", a_line(3)], (), URL)
    assert (one.fault, three.fault) == (None, None)
    with pytest.raises(InvalidRequest, match="not parseable") as error:
        read_body(two)
    assert refused(two, "x", error.value)["response"]["status_code"] == 400


def test_results_are_read_from_many_parts_with_few_files_open(tmp_path: Path) -> None:
    for epoch in range(200):
        Parts(tmp_path, epoch).append([Outcome(k, True, {"k": k}) for k in range(epoch, 1000, 200)])
    before = len(os.listdir("/proc/self/fd"))
    index = Parts(tmp_path, 0).index()
    with Reader() as reader:
        assert [orjson.loads(reader.read(index[k])) for k in range(1000)] == [{"k": k} for k in range(1000)]
        assert len(os.listdir("/proc/self/fd")) - before <= 64
    assert len(os.listdir("/proc/self/fd")) <= before
