"""Benches that bring their own Redis, API and worker, and the limits of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import psutil
import pytest

from queuechat.bench import stack
from queuechat.bench.soak import soak
from tests.bench.weights import DENSE, HEAD, LAYERS, a_folder
from tests.cli.command import Cli


async def test_the_path_is_measured_on_a_stack_that_is_gone_afterwards(cli: Cli) -> None:
    found = await cli.json(
        "bench", "transport", "-n", "8", "-c", "4", "--output-len", "16", "--warmup", "1", "--apis", "2"
    )
    assert (found["completed"], found["failed"], found["total_output_tokens"]) == (8, 0, 128)
    assert set(found["server_us_per_token"]) == {"redis", "api", "worker"}


async def test_a_stack_heeds_no_key_of_this_shell_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUECHAT_API_KEYS", "sk-of-this-shell")
    async with stack.running(stack.Plan(apis=2, rate=100, max_running=3)) as running:
        processes = [psutil.Process(pid) for pids in running.pids.values() for pid in pids]
        assert {name: len(pids) for name, pids in running.pids.items()} == {"redis": 1, "api": 2, "worker": 1}
        found = await soak(running, streams=3, rate=100, minutes=0.03, most_tokens=100)
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
    assert (found.gaps, found.failed, found.clean) == (0, 0, True)
    assert found.tokens == 3 * 180
    assert set(found.memory) == {"redis", "api", "worker"}
    assert found.delay.p50 >= 0
    assert found.memory["api"].peak >= found.memory["api"].first > 10


async def test_the_bare_server_streams_frames_of_the_same_fields(cli: Cli) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "stream": True}
    body |= {"stream_options": {"include_usage": True}}
    frames = []
    async with stack.bare() as limit, stack.running(stack.Plan()) as ours, httpx.AsyncClient() as http:
        for url in (limit.urls[0], ours.urls[0]):
            answer = await http.post(f"{url}/v1/chat/completions", json=body)
            lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
            assert lines.pop() == "[DONE]"
            frames.append([json.loads(line) for line in lines])
    for bare, real in zip(
        (frames[0][0], frames[0][1], *frames[0][-2:]), (frames[1][0], frames[1][1], *frames[1][-2:]), strict=True
    ):
        assert set(bare) == set(real)
        assert [set(choice) for choice in bare["choices"]] == [set(choice) for choice in real["choices"]]
        assert [set(choice["delta"]) for choice in bare["choices"]] == [
            set(choice["delta"]) for choice in real["choices"]
        ]
    assert frames[0][-1]["usage"]["completion_tokens"] == frames[1][-1]["usage"]["completion_tokens"] == 3


async def test_the_path_is_compared_with_a_bare_server(cli: Cli) -> None:
    found = await cli.json(
        *("bench", "transport", "--bare", "--rounds", "1", "-n", "4", "-c", "2", "--output-len", "8", "--warmup", "0")
    )
    assert list(found["medians"])[:2] == ["bare", "queuechat"]
    assert found["medians"]["bare"]["tokens_per_chunk"] == 1
    assert found["ratios"]["queuechat"]["output_throughput"] > 0


async def test_limits_are_measured_and_a_run_is_held_against_them(cli: Cli, tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m", DENSE, LAYERS | HEAD)
    run = tmp_path / "run.json"
    run.write_text(
        json.dumps({"input_lens": [9, 9], "output_lens": [5, 5], "duration": 2.0, "max_concurrent_requests": 2})
    )
    asking = ("bench", "limits", "-m", folder, "--device", "cpu", "--threads", "1", "--batch", "2", "--run", str(run))
    found = await cli.json(*asking)
    assert found["machine"]["bytes_per_s"] > 1e8
    assert found["machine"]["flops"] > 1e8
    assert found["machine"]["dtype"] == "float32"
    (step,) = found["decode"]
    assert step["tokens_per_s"] * step["step_ms"] / 1000 == pytest.approx(2)
    assert 0 < found["run"]["percent_of_limit"] < 100
