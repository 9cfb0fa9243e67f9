"""`queuechat bench` as a user types it, against an API that runs."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.api.site import Site
from tests.bench.answering import DONE, USAGE, answering, delta, refusal, stream
from tests.cli.command import Cli

SHORT = ("-n", "12", "-c", "4", "--input-len", "uniform:4:12", "--output-len", "20", "--warmup", "2")


async def test_a_closed_loop_tells_everything_as_json_and_draws_it(
    cli: Cli, served: Site, model: str, tmp_path: Path
) -> None:
    saved, drawn = tmp_path / "run.json", tmp_path / "run.png"
    files = ("--output", str(saved), "--plot", str(drawn))
    code, out, _ = await cli(
        "bench", "--url", served.url, "-m", model, *SHORT, *files, "--goodput", "e2el:60000", "--json"
    )
    assert code == 0
    found = json.loads(out)
    assert (found["completed"], found["failed"], found["model_id"]) == (12, 0, model)
    assert found["total_output_tokens"] == 12 * 20
    assert found["request_goodput"] == found["request_throughput"]
    assert found["finish_reasons"] == {"length": 12}
    assert 0 < found["mean_ttft_ms"] <= found["mean_e2el_ms"]
    detailed = json.loads(saved.read_bytes())
    assert detailed["output_lens"] == [20] * 12
    assert all(length > 4 for length in detailed["input_lens"])
    assert drawn.read_bytes().startswith(b"\x89PNG")


async def test_an_open_loop_of_token_ids_and_the_cost_of_a_process(cli: Cli, served: Site, model: str) -> None:
    ids = ("--endpoint", "completions", "--token-ids", "1:256")
    pace = ("-n", "10", "--rate", "200", "--burstiness", "0.5", "--max-concurrency", "4", "--output-len", "5")
    found = await cli.json(
        *("bench", "--url", f"{served.url}/v1", "-m", model, *ids, *pace, "--input-len", "30"),
        *("--shared-prefix", "16", "--pids", str(os.getpid())),
    )
    assert (found["completed"], found["total_output_tokens"]) == (10, 50)
    assert found["total_input_tokens"] == 10 * (30 + 16)
    assert (found["request_rate"], found["backend"]) == (200, "openai")
    assert found["max_concurrent_requests"] <= 4
    assert found["server_us_per_token"]["watched processes"] >= 0


async def test_people_get_a_table(cli: Cli, served: Site, model: str) -> None:
    code, out, _ = await cli("bench", "--url", served.url, "-m", f"echo-{model}", *SHORT)
    assert code == 0
    for label in ("Successful requests:", "Mean TTFT (ms):", "P99 ITL (ms):", "Output token throughput (tok/s):"):
        assert label in out


async def test_a_failed_request_is_told_and_ends_with_exit_code_1(cli: Cli) -> None:
    whole = stream(delta("a"), delta("", "length"), USAGE, DONE)
    async with answering([whole, refusal("429 Busy", {"code": "queue_full"})]) as url:
        asking = ("bench", "--url", url, "-m", "m", "-n", "4", "-c", "1", "--warmup", "0")
        code, out, _ = await cli(*asking)
        assert (code, "2 failed: HTTP 429 queue_full" in out) == (1, True)
        code, out, _ = await cli(*asking, "--allow-failures", "--json")
        assert (code, json.loads(out)["errors"]) == (0, {"HTTP 429 queue_full": 2})


async def test_servers_are_compared_in_turn(cli: Cli, served: Site, model: str) -> None:
    urls = (f"a={served.url}#{model}", f"b={served.url}#echo-{model}")
    found = await cli.json("bench", "compare", *urls, *SHORT, "--rounds", "2")
    assert set(found["medians"]) == {"a", "b"}
    assert found["ratios"]["a"]["output_throughput"] == 1
    assert [len(rounds) for rounds in found["rounds"].values()] == [2, 2]
    code, out, _ = await cli("bench", "compare", *urls, *SHORT, "--rounds", "1")
    assert (code, "b / a" in out, "median_ttft_ms" in out) == (0, True, True)


async def test_a_key_goes_out_and_is_never_shown(cli: Cli) -> None:
    heads: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(refusal("401 Unauthorized", {"code": "invalid_api_key"}))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        asking = ("bench", "--url", url, "-m", "m", "-n", "1", "--warmup", "0", "-H", "X-Team: blue")
        code, out, err = await cli(*asking, QUEUECHAT_BENCH_API_KEY="hunter2")
    assert code == 1
    assert b"Authorization: Bearer hunter2\r\n" in heads[0]
    assert b"X-Team: blue\r\n" in heads[0]
    assert "hunter2" not in out + err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rate", "5", "--concurrency", "3"), "exclude each other"),
        (("--rate", "0"), "--rate must be above 0"),
        (("--rate", "5", "--burstiness", "0"), "--burstiness must be above 0"),
        (("--burstiness", "2"), "--burstiness means nothing without --rate"),
        (("--max-concurrency", "2"), "--max-concurrency means nothing without --rate"),
        (("--input-len", "many"), "uniform:LOW:HIGH"),
        (("--output-len", "0"), "uniform:LOW:HIGH"),
        (("--dataset", "x.json", "--input-len", "5"), "--input-len means nothing with --dataset"),
        (("--dataset", "nowhere.json"), "cannot read nowhere.json"),
        (("--token-ids", "1:9"), "--endpoint completions"),
        (("--token-ids", "9", "--endpoint", "completions"), "LOW:HIGH"),
        (("--endpoint", "embeddings"), "chat or completions"),
        (("--goodput", "ttft"), "ttft:MS"),
        (("--extra-body", "[1]"), "JSON object"),
        (("--header", "Bearer hunter2"), "NAME: VALUE"),
        (("--pids", "all"), "process ids"),
        (("--pids", "999999999"), "no process 999999999"),
        (("--url", "localhost:8000"), "http://HOST:PORT"),
        (("--plot", "nowhere/run.png"), "no folder nowhere"),
        (("compare", "http://a"), "at least two"),
        (("--rate", "5", "compare", "http://a", "http://b"), "stand after its name: bench compare --rate"),
        (("transport", "--rounds", "2"), "--rounds means nothing without --bare"),
        (("transport", "--bare", "--echo-rate", "5"), "at full speed"),
        (("transport", "--token-ids", "1:9"), "measured with chats"),
        (("compare", "http://a", "http://a"), "at least two"),
        (("limits", "--model", "echo"), "no weights"),
        (("limits", "--model", "./nowhere"), "no folder"),
        (("limits", "--model", "smollm2", "--run", "nowhere.json"), "cannot read nowhere.json"),
    ],
)
async def test_what_cannot_be_measured_is_said_in_a_line(cli: Cli, arguments: tuple[str, ...], says: str) -> None:
    code, out, err = await cli("bench", *arguments)
    assert (code, out) == (1, "")
    assert says in err
    assert "hunter2" not in err
    assert "Traceback" not in err


async def test_a_server_that_is_not_there_is_told_before_anything_is_asked(cli: Cli) -> None:
    async with answering([]) as url:
        pass
    code, _, err = await cli("bench", "--url", url)
    assert (code, "is the server up?" in err) == (1, True)
