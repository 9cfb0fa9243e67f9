"""Flags of `queuechat worker`: an engine honours what it is given, or the command says what it cannot do."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from queuechat.errors import Misconfigured
from tests.processes import Command
from tests.workers.engines.conftest import smollm
from workers.building import build
from workers.models import Spec, accelerator_present, resolve


@pytest.fixture
def gguf() -> str:
    return str(smollm())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"device": "cpu"}, "--device means nothing to engine 'echo'; leave it out (--device is for llamacpp and "),
        ({"dtype": "float32"}, "--dtype means nothing to engine 'echo'"),
        ({"revision": "main"}, "(--revision is for transformers and vllm)"),
        ({"threads": 2}, "--threads means nothing to engine 'echo'"),
        ({"device": "cuda:7", "threads": 2}, "--device, --threads mean nothing to engine 'echo'; leave them out"),
    ],
)
def test_echo_refuses_the_flags_of_real_engines(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        resolve("echo", **flags)
    assert says in caught.value.message


def test_all_flags_that_mean_nothing_are_named_at_once_with_the_engines_they_are_for(gguf: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        resolve(gguf, engine="llamacpp", device="cuda:7", revision="nonsense", echo_rate=9)
    assert caught.value.message == (
        "--revision, --echo-rate mean nothing to engine 'llamacpp'; leave them out "
        "(--revision is for transformers and vllm, --echo-rate is for echo)"
    )


def test_tensor_parallelism_is_for_vllm_and_transformers_says_so() -> None:
    assert resolve("owner/name", engine="vllm", tensor_parallel=2).tensor_parallel == 2
    with pytest.raises(Misconfigured, match=r"--tensor-parallel means nothing.*\(--tensor-parallel is for vllm\)"):
        resolve("owner/name", engine="transformers", tensor_parallel=2)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_vllm_that_is_not_installed_says_where_it_lives() -> None:
    with pytest.raises(Misconfigured, match="an environment of its own"):
        build(resolve("owner/name", engine="vllm"))


@pytest.mark.parametrize("device", ["cuda:7", "cuda:0", "warp", "mps"])
def test_llama_cpp_takes_the_cpu_or_all_gpus_and_no_device_by_number(gguf: str, device: str) -> None:
    with pytest.raises(Misconfigured, match="use cpu, or auto, cuda or gpu"):
        resolve(gguf, engine="llamacpp", device=device)


@pytest.mark.parametrize("engine", ["llamacpp", "transformers"])
def test_a_revision_is_for_the_hub_only(gguf: str, tmp_path: Path, engine: str) -> None:
    with pytest.raises(Misconfigured, match="--revision"):
        resolve(gguf, engine=engine, revision="main")
    with pytest.raises(Misconfigured, match="models of the Hub"):
        resolve(str(tmp_path), revision="main")
    assert resolve("owner/name", revision="v2").revision == "v2"


@pytest.mark.parametrize("engine", ["llamacpp", "transformers"])
def test_a_dtype_that_nobody_knows_is_refused_with_those_that_exist(gguf: str, engine: str) -> None:
    with pytest.raises(Misconfigured, match="auto, float32, bfloat16, float16"):
        resolve(gguf, engine=engine, dtype="int3")


def test_llama_cpp_has_no_bfloat16(gguf: str) -> None:
    with pytest.raises(Misconfigured, match="float16 or float32, not bfloat16"):
        resolve(gguf, engine="llamacpp", dtype="bfloat16")


def test_what_an_engine_honours_reaches_it() -> None:
    spec = resolve("owner/name", device="cuda:1", dtype="bfloat16", revision="v2", threads=3)
    assert (spec.device, spec.dtype, spec.revision, spec.threads) == ("cuda:1", "bfloat16", "v2", 3)
    assert resolve("echo", echo_rate=9).echo_rate == 9
    assert resolve("smollm2", engine="llamacpp", threads=2, device="cpu").threads == 2


@pytest.mark.skipif(accelerator_present(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "gpu"])
def test_a_gpu_that_llama_cpp_does_not_see_is_not_replaced_by_the_cpu_in_silence(gguf: str, device: str) -> None:
    pytest.importorskip("xllamacpp")
    with pytest.raises(Misconfigured, match="sees no GPU"):
        build(resolve(gguf, engine="llamacpp", device=device))


def test_llama_cpp_that_is_put_on_the_cpu_says_so(gguf: str) -> None:
    pytest.importorskip("xllamacpp")
    engine = build(resolve(gguf, engine="llamacpp", device="cpu", threads=1))
    try:
        engine.start()
        assert engine.caps.device == "cpu"
    finally:
        engine.close()


def test_a_llama_cpp_that_does_not_start_leaves_no_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "m.gguf", "perceptron")
    writer.add_token_list(["a"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(Misconfigured, match="cannot load"):
        build(Spec("m", [], "llamacpp", str(tmp_path / "m.gguf"))).start()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "says"),
    [({"device": "warp"}, "no device 'warp'"), ({"device": "cuda:99"}, "no device"), ({"device": "meta"}, "auto, cpu")],
)
def test_a_device_that_torch_does_not_have_is_misconfigured(gguf: str, flags: dict[str, Any], says: str) -> None:
    pytest.importorskip("torch")
    from workers.engines.hf_model import load

    with pytest.raises(Misconfigured, match=says):
        load(gguf, **flags)


def test_a_dtype_of_torch_that_no_model_computes_in_is_misconfigured(gguf: str) -> None:
    pytest.importorskip("torch")
    from workers.engines.hf_model import load

    with pytest.raises(Misconfigured, match="'int3' is unknown"):
        load(gguf, device="cpu", dtype="int3")


async def test_transformers_computes_with_as_many_threads_as_it_is_told(gguf: str) -> None:
    pytest.importorskip("transformers")
    program = (
        "import sys, threading, torch\n"
        "from workers.engines.transformers import TransformersEngine\n"
        "engine = TransformersEngine(sys.argv[1], device='cpu', max_context=64, max_running=1, threads=3)\n"
        "engine.start()\n"
        "seen = []\n"
        "thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))\n"
        "thread.start(); thread.join()\n"
        "engine.close()\n"
        "print(torch.get_num_threads(), *seen)\n"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, gguf), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert out.split() == [b"3", b"3"], err.decode()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("echo", "--device", "cpu"), "--device means nothing to engine 'echo'"),
        (
            ("smollm2", "--engine", "llamacpp", "--revision", "nonsense", "--echo-rate", "9"),
            "--revision, --echo-rate mean nothing to engine 'llamacpp'",
        ),
        (("smollm2", "--engine", "llamacpp", "--device", "cuda:7"), "cannot be put on device 'cuda:7'"),
        (("echo", "--chat-template", "vicunna"), "did you mean 'vicuna'?"),
        (("smollm2", "--engine", "transformers", "--dtype", "int3"), "dtype 'int3' is unknown"),
        (("smollm2", "--engine", "transformers", "--device", "warp"), "no device 'warp'"),
    ],
)
async def test_a_worker_with_a_flag_that_cannot_work_says_why_and_ends(
    redis_url: str, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    if "transformers" in arguments and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    command = await Command.start(["worker", "--model", *arguments], tmp_path, QUEUECHAT_REDIS_URL=redis_url)
    assert await command.process.wait() == 1
    said = command.log.read_text()
    assert says in said
    assert "Traceback" not in said


def test_the_small_model_comes_in_two_forms_of_one_file() -> None:
    unpacked, packed = resolve("smollm2", engine="llamacpp"), resolve("smollm2-q4")
    assert (unpacked.model, packed.model) == ("smollm2", "smollm2-q4")
    assert (unpacked.source, unpacked.engine) == (packed.source, packed.engine)
    assert (unpacked.dtype, packed.dtype) == ("float16", "auto")


@pytest.mark.parametrize("flags", [{"engine": "transformers"}, {"dtype": "float16"}])
def test_the_packed_form_is_for_llamacpp_alone(flags: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="leave --engine and --dtype out"):
        resolve("smollm2-q4", **flags)
