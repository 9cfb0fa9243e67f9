"""`queuechat top` in a real terminal: what it shows, its keys, and how it leaves the terminal."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from queuechat.bus import Bus
from queuechat.cli.top.columns import bars
from queuechat.cli.top.keyboard import parse
from queuechat.cli.top.screen import share
from queuechat.protocol import Job, new_id
from tests.api.hand import Hand
from tests.cli.command import Cli
from tests.cli.terminal import Terminal
from tests.conftest import free_port, start_redis
from tests.processes import Workers

LEFT = "\x1b[?1049l"  # back from the screen that full-screen programs have for themselves


@pytest.fixture
async def bus(redis_url: str) -> AsyncIterator[Bus]:
    """A database of its own, empty: the tables show everything that there is."""
    opened = await Bus(f"{redis_url}/7").open()
    await opened.connection.command("FLUSHDB")
    yield opened
    await opened.close()


@pytest.fixture
def url(redis_url: str) -> str:
    return f"{redis_url}/7"


@pytest.fixture
async def workers(url: str, bus: Bus, tmp_path: Path) -> AsyncIterator[Workers]:
    started = Workers(url, bus, tmp_path / "w")
    yield started
    await started.stop()


async def ask(bus: Bus, model: str, tokens: int | None = None) -> str:
    job = Job(new_id(), model, prompt="x", max_tokens=tokens)
    await bus.enqueue([job], limit=0, grace_s=0)
    return job.id


def models_on(lines: list[str], *names: str) -> list[str]:
    """The models of these names in the order of the first table."""
    first = lines[: next((at for at, line in enumerate(lines) if line.startswith("WORKER ")), 0)]
    return [word for line in first for word in line.split()[:1] if word in names]


async def test_it_shows_models_workers_and_jobs_and_quits(url: str, bus: Bus, workers: Workers, tmp_path: Path) -> None:
    await workers.start("echo", "slow", "--echo-rate", "5", QUEUECHAT_DRAIN_S="0")
    (card,) = await workers.of("slow")
    id = await ask(bus, "slow", 500)
    async with Terminal(url, tmp_path, "top") as terminal:
        lines = await terminal.until(id)
        assert any(card.id in line and "ready" in line for line in lines)
        await terminal.until(lambda now: any(line.split()[:4] == ["slow", "ready", "0", "1"] for line in now))
        terminal.press("q")
        assert await terminal.process.wait() == 0
    assert LEFT in terminal.output


async def test_keys_sort_by_a_column_and_turn_the_order_round(url: str, bus: Bus, tmp_path: Path) -> None:
    async with Hand(bus, "a-few"), Hand(bus, "b-many"), Hand(bus, "c-none"):
        for model, count in (("a-few", 1), ("b-many", 3)):
            for _ in range(count):
                await ask(bus, model)
        names = ("a-few", "b-many", "c-none")
        async with Terminal(url, tmp_path, "top") as terminal:
            await terminal.until(lambda lines: models_on(lines, *names) == list(names))
            terminal.press("\x1b[C\x1b[C\x1b[C")
            await terminal.until("WAITING▼")
            await terminal.until(lambda lines: models_on(lines, *names) == ["b-many", "a-few", "c-none"])
            terminal.press("r")
            await terminal.until("WAITING▲")
            await terminal.until(lambda lines: models_on(lines, *names) == ["c-none", "a-few", "b-many"])


async def test_the_oldest_job_is_cancelled_after_a_yes_and_not_after_a_no(url: str, bus: Bus, tmp_path: Path) -> None:
    async with Hand(bus, "m"):
        first, second = await ask(bus, "m"), await ask(bus, "m")
        async with Terminal(url, tmp_path, "top") as terminal:
            await terminal.until(second)
            terminal.press("c")
            await terminal.until(f"Cancel the oldest job, {first}")
            terminal.press("n")
            await terminal.until("nothing was done")
            assert (await bus.depth("m")).waiting == 2
            terminal.press("c")
            await terminal.until(f"Cancel the oldest job, {first}")
            terminal.press("y")
            await terminal.until(f"{first} cancelled")
            await terminal.until(lambda lines: not any(line.startswith(first) for line in lines[:-1]))
        assert (await bus.depth("m")).waiting == 1


async def test_the_chosen_job_is_cancelled(url: str, bus: Bus, tmp_path: Path) -> None:
    async with Hand(bus, "m"):
        first, second = await ask(bus, "m"), await ask(bus, "m")
        async with Terminal(url, tmp_path, "top") as terminal:
            await terminal.until(second)
            terminal.press("\t\tjc")
            await terminal.until(f"Cancel {second}")
            terminal.press("y")
            await terminal.until(f"{second} cancelled")
        assert (await bus.cancel("m", [first, second])) == ["OK", "ALREADY"]


async def test_a_worker_is_drained_after_a_yes(url: str, bus: Bus, workers: Workers, tmp_path: Path) -> None:
    command = await workers.start("echo", "m")
    (card,) = await workers.of("m")
    async with Terminal(url, tmp_path, "top") as terminal:
        await terminal.until(card.id)
        terminal.press("d")
        await terminal.until("choose a worker first")
        terminal.press("\td")
        await terminal.until(f"Drain {card.id}")
        terminal.press("y")
        await terminal.until(f"{card.id} drains")
        assert await command.process.wait() == 0
        await terminal.until("no worker")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_however_it_ends_the_terminal_is_put_back(
    url: str, bus: Bus, tmp_path: Path, end: signal.Signals
) -> None:
    async with Terminal(url, tmp_path, "top") as terminal:
        await terminal.until("queuechat top")
        assert terminal.now_modes() != terminal.modes
        terminal.process.send_signal(end)
        assert await terminal.process.wait() == 0
        assert terminal.now_modes() == terminal.modes
    assert LEFT in terminal.output


async def test_it_goes_on_while_redis_is_away_and_says_so(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "redis").mkdir()
    server = start_redis(tmp_path / "redis", port)
    address = f"redis://127.0.0.1:{port}"
    bus = await Bus(address).open()
    async with Hand(bus, "m"):
        await ask(bus, "m")
    await bus.close()
    async with Terminal(address, tmp_path, "top") as terminal:
        await terminal.until("1 waiting")
        server.kill()
        server.wait()
        lines = await terminal.until("Redis does not answer")
        assert models_on(lines, "m") == ["m"]
        server = start_redis(tmp_path / "redis", port)
        await terminal.until("1 waiting")
    server.kill()
    server.wait()


async def test_a_wider_terminal_gets_more_columns(url: str, bus: Bus, tmp_path: Path) -> None:
    async with Hand(bus, "m"), Terminal(url, tmp_path, "top", size=(85, 30)) as terminal:
        lines = await terminal.until("WAITING")
        assert "WORKERS" not in lines[2]
        assert max(map(len, lines)) <= 85
        terminal.resize(140, 30)
        await terminal.until(lambda now: any("TOK/S, 2 MIN" in line and "WORKERS" in line for line in now))


async def test_pipes_get_one_look_and_programs_a_document(redis_url: str, bus: Bus, url: str, tmp_path: Path) -> None:
    cli = Cli(url, tmp_path)
    code, out, _ = await cli("top")
    assert (code, out.startswith("no models yet")) == (0, True)
    async with Hand(bus, "m") as hand:
        await ask(bus, "m")
        code, out, _ = await cli("top")
        assert (code, "\x1b" in out) == (0, False)
        assert [line.split()[0] for line in out.splitlines() if line] == ["MODEL", "m", "WORKER", hand.name]
        document = await cli.json("top")
    (model,), (worker,) = document["models"], document["workers"]
    assert (model["name"], model["waiting"], model["came_per_s"]) == ("m", 1, 0.0)
    assert model["workers"] == [worker["id"]] == [hand.name]


def test_keys_have_names_also_when_their_bytes_come_apart() -> None:
    assert parse(b"q\x1b[A\x1bOB\x1b[Z\t\r") == (["q", "up", "down", "shift-tab", "tab", "enter"], b"")
    assert parse(b"j\x1b[") == (["j"], b"\x1b[")
    assert parse(b"\x1b[" + b"D") == (["left"], b"")
    assert parse(b"\x1b[1;5C\x1b[3~") == (["unknown", "unknown"], b"")
    assert parse(b"\x1bx") == (["escape", "x"], b"")
    assert parse(b"\x00\xff") == (["unknown", "unknown"], b"")


def test_tables_share_the_lines_that_there_are() -> None:
    assert share([2, 3, 50], 30) == [2, 3, 25]
    assert share([50, 50, 50], 30) == [10, 10, 10]
    assert share([0, 0, 0], 30) == [1, 1, 1]
    assert sum(share([50, 1, 50], 31)) == 31


def test_a_line_of_blocks_rises_to_its_greatest_value() -> None:
    assert bars([None, 0, 1, 2, 4]) == " ▁▃▅█"
    assert bars([0, 0]) == "▁▁"
