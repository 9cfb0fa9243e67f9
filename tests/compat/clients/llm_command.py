"""The `llm` command: `llm openai endpoint URL PROMPT -m MODEL --key KEY`, nothing configured before."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.compat.report import CITY, Report, Site, check

site = Site.told()
report = Report(site)
HELLO = "What is the capital of France?"
LLM = str(Path(sys.executable).with_name("llm"))
FEW = ("-o", "max_tokens", "40", "-o", "temperature", "0")


def command(*arguments: str, model: str = site.model, key: str = site.key) -> list[str]:
    return [LLM, "openai", "endpoint", site.v1, *arguments, "-m", model, "--key", key]


def ask(*arguments: str, **who: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments, **who), capture_output=True, text=True, check=False)


def answer(*arguments: str, **who: str) -> str:
    done = ask(*arguments, **who)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def refusal(words: str, *arguments: str, **who: str) -> str:
    done = ask(*arguments, **who)
    return check(done.returncode != 0 and words in done.stderr, done.stderr.strip())


@report.of("models")
def models() -> str:
    names = answer("--models")
    return check(site.model in names, names)


@report.of("chat")
def chat() -> str:
    text = answer(HELLO, "--no-stream", *FEW)
    return check("Paris" in text, text)


@report.of("stream")
def stream() -> str:
    text = answer(HELLO, *FEW)
    return check("Paris" in text, text)


@report.of("stop")
def stop() -> str:
    text = answer(HELLO, *FEW, "-o", "stop", "Paris")
    return check("Paris" not in text and "capital" in text, text)


@report.of("tool_auto")
def tool_of_its_own_will() -> str:
    function = 'def weather(city: str) -> str:\n    "The weather of a city."\n    return "Sunny, 21 degrees."'
    return answer(HELLO, *FEW, "--functions", function)


@report.of("structured")
def structured() -> str:
    text = answer(HELLO, *FEW, "--schema", json.dumps(CITY))
    return check(json.loads(text).keys() == {"name", "big"}, text)


@report.of("responses", needs="/v1/responses")
def responses() -> str:
    text = answer(HELLO, "--responses", "--no-stream", *FEW)
    return check("Paris" in text, text)


@report.of("responses_stream", needs="/v1/responses")
def responses_stream() -> str:
    text = answer(HELLO, "--responses", *FEW)
    return check("Paris" in text, text)


@report.of("wrong_key")
def wrong_key() -> str:
    return refusal("API key", HELLO, key="sk-wrong")


@report.of("no_such_model")
def no_such_model() -> str:
    return refusal("does not exist", HELLO, model="nobody")


@report.of("bad_value")
def bad_value() -> str:
    return refusal("stop", HELLO, "-o", "stop", "")


@report.of("retries")
def retries() -> str:
    with site.busy_key():
        text = answer(HELLO, "-o", "max_tokens", "3", key=site.frugal)
    return check(text, "answered after a 429")


@report.of("cancel")
def cancel() -> str:
    running = subprocess.Popen(
        command(HELLO, "-o", "max_tokens", "2000", model=site.slow), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    pipe: Any = running.stdout
    pipe.read(1)
    running.send_signal(signal.SIGINT)
    running.wait()
    return site.until_idle()


if __name__ == "__main__":
    report.run()
