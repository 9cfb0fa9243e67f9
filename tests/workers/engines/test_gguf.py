import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queuechat.errors import EngineDied, Misconfigured
from queuechat.protocol import Job
from tests.workers.engines.conftest import smollm, started, weights
from tests.workers.engines.driver import Driver
from workers.engines.gguf_metadata import read_metadata
from workers.engines.gguf_vocabulary import GgufVocabulary, ServerTokenizer
from workers.engines.llamacpp import LlamaCppEngine
from workers.prompting import Speech
from workers.text.named import asked_for
from workers.text.transcript import Transcript

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "  two  spaces\n\n\tand a tab\r\n",
    "Straße, naïve café, Ærøskøbing",
    "你好，世界。東京 こんにちは 안녕하세요",
    "مرحبا بالعالم שלום",
    "😀😎👩‍👩‍👧‍👦🏳️‍🌈",
    "def f(x):\n    return x**2  # 12345678901234567890",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "a\u0300\u200b\ufeff\ufffd\x00\x7f",
]


def refuse(text: str, add_special: bool) -> list[int]:
    raise AssertionError("no tokenizer in this test")


def vocabulary(tokens: list[str], kinds: list[int] | None = None, **metadata: Any) -> GgufVocabulary:
    fields: dict[str, Any] = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.model": "gpt2"}
    if kinds:
        fields["tokenizer.ggml.token_type"] = kinds
    return GgufVocabulary(fields | {f"tokenizer.ggml.{key}": value for key, value in metadata.items()}, refuse)


@pytest.fixture(scope="module")
def smol() -> GgufVocabulary:
    return GgufVocabulary(read_metadata(smollm()), refuse)


@pytest.fixture(scope="module")
async def llama() -> AsyncIterator[Driver]:
    pytest.importorskip("xllamacpp")
    driver = await started("llamacpp", LlamaCppEngine(str(smollm()), max_running=1, max_context=128))
    yield driver
    await driver.close()


@pytest.fixture(scope="module")
def hugging_face() -> Any:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("gguf")
    return transformers.AutoTokenizer.from_pretrained(weights())  # which reads the file once


@pytest.mark.parametrize("text", TEXTS)
def test_ids_decode_as_transformers_decodes_them(smol: GgufVocabulary, hugging_face: Any, text: str) -> None:
    ids = hugging_face.encode(text, add_special_tokens=False)
    decoded = hugging_face.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert smol.decode(ids) == decoded


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.integers(0, 49151), max_size=30))
def test_any_ids_decode_as_transformers_decodes_them(smol: GgufVocabulary, hugging_face: Any, ids: list[int]) -> None:
    decoded = hugging_face.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert smol.decode(ids) == decoded


@settings(max_examples=100, deadline=None)
@given(ids=st.lists(st.integers(0, 49151), max_size=40), cuts=st.lists(st.integers(0, 40), max_size=5))
def test_a_transcript_of_a_real_vocabulary_does_not_depend_on_the_pushes(
    smol: GgufVocabulary, ids: list[int], cuts: list[int]
) -> None:
    transcript = Transcript(smol)
    edges = [0, *sorted(cuts), len(ids)]
    text = "".join(transcript.push(ids[a:b]).text for a, b in pairwise(edges))
    assert text + transcript.finish() == smol.decode(ids)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_real_text_stops_at_the_same_place_however_it_is_pushed(
    smol: GgufVocabulary, hugging_face: Any, text: str, size: int
) -> None:
    ids = hugging_face.encode(text * 3, add_special_tokens=False)
    stop = [smol.decode(ids)[-3:]] if text.strip() else []
    ends = []
    for step in (1, size, len(ids) or 1):
        transcript = Transcript(smol, stop=stop)
        deltas = [transcript.push(ids[at : at + step]) for at in range(0, len(ids), step)]
        said = "".join(delta.text for delta in deltas) + transcript.finish()
        ends.append((said, sum(delta.taken for delta in deltas)))
    assert len(set(ends)) == 1


def test_the_vocabulary_knows_ends_names_and_template(smol: GgufVocabulary) -> None:
    assert smol.eos_ids >= {0, 2}
    assert smol.special_tokens["eos_token"] == "<|im_end|>"
    assert "<|im_start|>" in (smol.chat_template or "")
    assert smol.decode([1, 9690, 2]) == smol.decode([9690])


def test_sentencepiece_tokens_are_spaces_and_bytes() -> None:
    words = vocabulary(["<unk>", "▁Hello", "▁you", "<0xE4>", "<0xBD>", "<0xA0>"], [2, 1, 1, 6, 6, 6], model="llama")
    assert words.decode([1, 2]) == "Hello you"
    assert words.decode([3, 4, 5, 0]) == "你"
    assert words.decode([3, 4]) == "\ufffd"


def test_a_token_that_users_defined_is_text_as_it_stands() -> None:
    assert vocabulary(["Ġa", "<think>", "Ġ"], [1, 4, 4]).decode([0, 1, 2]) == " a<think>Ġ"


def test_with_the_harmony_format_end_is_not_the_end() -> None:
    assert vocabulary(["<|end|>", "<|return|>", "<|call|>"]).eos_ids == {1, 2}
    assert vocabulary(["<|end|>", "a"]).eos_ids == {0}


def test_bytes_are_spelled_by_exactly_as_many_ids_as_there_were() -> None:
    letters = vocabulary(["a", "b", "c", "ab", "bc"])
    assert letters.spell(b"abc", 3) == [0, 1, 2]
    assert letters.spell(b"abc", 2) == [3, 2]
    assert letters.spell(b"abc", 1) == []
    assert letters.spell(b"", 0) == []


@pytest.mark.parametrize("text", ["😀", "你", "👩‍👩‍👧", " “"])
def test_the_spelling_of_half_a_character_is_that_of_the_tokenizer(
    smol: GgufVocabulary, hugging_face: Any, text: str
) -> None:
    ids = hugging_face.encode(text, add_special_tokens=False)
    for count in range(1, len(ids)):
        half = b"".join(smol.piece(id) for id in ids[:count])
        assert smol.spell(half, count) == ids[:count]


def test_metadata_reads_as_gguf_py_reads_it(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(4096)
    writer.add_token_list(["a", "é", "<|im_end|>"])
    writer.add_token_types([1, 1, 3])
    writer.add_token_scores([0.5, -1.0, 0.0])
    writer.add_add_bos_token(True)
    writer.add_layer_norm_eps(0.25)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    wanted = {
        key: field.contents() for key, field in gguf.GGUFReader(path).fields.items() if not key.startswith("GGUF.")
    }
    assert read_metadata(path) == wanted


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="nothing"):
        read_metadata(tmp_path / "nothing.gguf")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04" * 20, b"GGUF\x03\0\0\0" + b"\xff" * 40])
def test_a_file_that_is_not_gguf_is_misconfigured(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match="no readable GGUF"):
        read_metadata(path)


def test_a_tokenizer_without_its_server_says_that_the_engine_died(tmp_path: Path) -> None:
    with pytest.raises(EngineDied):
        ServerTokenizer(str(tmp_path / "gone.sock"))("text", False)


def test_short_texts_do_not_wait_for_long_ones(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Tokenizing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["content"]
            if len(text) > 3:
                begun.set()
                go_on.wait()
            body = json.dumps({"tokens": [len(text)]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return ""

        def log_message(self, *_: Any) -> None:
            """Nothing to say."""

    class Server(ThreadingMixIn, UnixStreamServer):
        daemon_threads = True

    path = str(tmp_path / "s.sock")
    with Server(path, Tokenizing) as server, ThreadPoolExecutor(8) as threads:
        threads.submit(server.serve_forever)
        tokenizer = ServerTokenizer(path)
        long = [threads.submit(tokenizer, "x" * 20_000, False) for _ in range(6)]
        try:
            begun.wait()
            assert tokenizer("abc", False) == [3]
            assert not any(each.done() for each in long)
        finally:
            go_on.set()
        assert [each.result() for each in long] == [[20_000]] * 6
        tokenizer.close()
        server.shutdown()


async def test_text_encodes_as_transformers_encodes_it(llama: Driver, hugging_face: Any) -> None:
    for text in TEXTS:
        ids = await asyncio.to_thread(llama.engine.vocabulary.encode, text, add_special=True)
        assert ids == hugging_face.encode(text)


async def test_a_lone_surrogate_is_encoded_as_a_question_mark(llama: Driver) -> None:
    encode = llama.engine.vocabulary.encode
    assert encode("a\ud83d", add_special=False) == encode("a?", add_special=False)


def test_neither_torch_nor_transformers_is_imported() -> None:
    program = (
        "import sys, asyncio\n"
        "from workers.engines.llamacpp import LlamaCppEngine\n"
        "import workers.text.template, workers.text.transcript\n"
        "engine = LlamaCppEngine(sys.argv[1], max_running=1, max_context=128)\n"
        "engine.start()\n"
        "assert engine.vocabulary.decode(engine.vocabulary.encode('hi', add_special=False)) == 'hi'\n"
        "engine.close()\n"
        "assert not {'torch', 'transformers', 'tokenizers'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program, str(smollm())], check=True, timeout=120)


def test_special_tokens_are_kept_where_they_are_needed_but_never_those_that_end_an_answer() -> None:
    plain = vocabulary(["a", "<tool_call>", "<|im_end|>"], [1, 3, 3])
    kept = plain.keeping({"<tool_call>", "<|im_end|>", "<absent>"})
    assert kept.decode([0, 1, 2]) == "a<tool_call>"
    assert plain.decode([0, 1, 2]) == "a"


def test_the_end_of_a_turn_in_a_chat_format_is_found_among_the_special_tokens(smol: GgufVocabulary) -> None:
    speech = Speech(smol, "{{ messages }}", stop=(*asked_for("chatml").stop, "###"))
    ids, words = speech.ends(Job("a", "m", messages=[]))
    assert smol.id_of("<|im_end|>") in ids
    assert words == ["###"]
