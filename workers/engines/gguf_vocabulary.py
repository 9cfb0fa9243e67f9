"""The vocabulary of a GGUF file without torch or transformers: decoding by a table of bytes, encoding by llama.cpp.

xllamacpp has no call to tokenise, but its HTTP server has `/tokenize`; it listens on a Unix socket in a folder that
nobody else can enter.
"""

from __future__ import annotations

import copy
import http.client
import json
import queue
import socket
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Self

from queuechat.errors import EngineDied, InvalidRequest

_CONNECTIONS = 3  # llama.cpp answers at least so many at a time
_LONG = 16_000  # characters

_UNKNOWN, _CONTROL, _USER, _UNUSED, _BYTE = 2, 3, 4, 5, 6

#: What llama.cpp takes for the end of a generation by its text alone (src/llama-vocab.cpp, special_eog_ids).
# fmt: off
_ENDS = frozenset({
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
    "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]",
    "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
})
# fmt: on
_HARMONY = frozenset({"<|return|>", "<|call|>"})  # with these two, <|end|> only ends a part of an answer
_NAMES = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}


class GgufVocabulary:
    """A `Vocabulary`; `tokenize(text, add_special)` is asked for ids."""

    waits = True

    def __init__(self, metadata: dict[str, Any], tokenize: Callable[[str, bool], list[int]]):
        tokens: list[str] = metadata["tokenizer.ggml.tokens"]
        self.eos_ids = _ends(metadata, tokens)
        self.chat_template: str | None = metadata.get("tokenizer.chat_template")
        self.special_tokens = {
            name: tokens[id]
            for key, name in _NAMES.items()
            if (id := metadata.get(f"tokenizer.ggml.{key}_token_id")) is not None and id < len(tokens)
        }
        self._tokenize = tokenize
        self._tokens = tokens
        self._pieces = _pieces(metadata, tokens, self.eos_ids)
        self._special = [id for id, piece in enumerate(self._pieces) if not piece and id not in self.eos_ids]
        byte_level = metadata["tokenizer.ggml.model"] == "gpt2"
        self._drop_space = bool(metadata.get("tokenizer.ggml.add_space_prefix", not byte_level)) and not byte_level

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        return self._tokenize(text, add_special) if text or add_special else []

    def decode(self, ids: Sequence[int]) -> str:
        pieces = self._pieces
        text = b"".join([pieces[id] for id in ids]).decode("utf-8", "replace")
        return text[1:] if self._drop_space and text.startswith(" ") else text

    def id_of(self, token: str) -> int | None:
        return self._by_name.get(token)

    def bytes_of(self, id: int) -> bytes:
        return self._pieces[id] or self._tokens[id].encode()

    def keeping(self, words: Collection[str]) -> Self:
        kept = {id: self._tokens[id].encode() for id in self._special if self._tokens[id] in words}
        other = copy.copy(self)
        other._pieces = [kept.get(id, piece) for id, piece in enumerate(self._pieces)] if kept else self._pieces
        return other

    def piece(self, id: int) -> bytes:
        """Bytes of one token inside a text; empty for a special one."""
        return self._pieces[id]

    def spell(self, text: bytes, count: int) -> list[int]:
        """The `count` ids that write these bytes, or none if there are no such ids.

        Of several spellings the one of the earliest merges is returned, as a tokenizer would: its highest id is the
        lowest.
        """
        best: dict[int, list[int]] = {0: []}  # bytes written -> ids
        for _ in range(count):
            longer: dict[int, list[int]] = {}
            for start, ids in best.items():
                for end in range(start + 1, min(len(text), start + self._longest) + 1):
                    id = self._by_piece.get(text[start:end])
                    if id is not None and (end not in longer or max(*ids, id, id) < max(longer[end])):
                        longer[end] = [*ids, id]
            best = longer
        return best.get(len(text), [])

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {token: id for id, token in reversed(list(enumerate(self._tokens)))}

    @cached_property
    def _by_piece(self) -> dict[bytes, int]:
        return {piece: id for id, piece in reversed(list(enumerate(self._pieces))) if piece}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._by_piece))


class ServerTokenizer:
    """Ids from a llama.cpp server on a Unix socket; connections are kept open, and a short text takes 1 ms.

    Long texts take seconds. They are done one at a time, so that there is always a connection for short ones.
    """

    def __init__(self, path: str):
        self._idle: queue.LifoQueue[_UnixConnection] = queue.LifoQueue()
        for _ in range(_CONNECTIONS):
            self._idle.put(_UnixConnection(path))
        self._long = threading.Lock()

    def __call__(self, text: str, add_special: bool) -> list[int]:
        """Ids of the text.

        Raises:
            InvalidRequest: llama.cpp refuses the text.
            EngineDied: it does not answer.
        """
        clean = text.encode("utf-8", "replace").decode()  # a lone surrogate is no JSON for llama.cpp
        body = json.dumps({"content": clean, "add_special": add_special, "parse_special": True})
        with self._long if len(text) > _LONG else nullcontext():
            answer = self._answer(body)
        if "tokens" not in answer:
            raise InvalidRequest(f"llama.cpp cannot tokenise this text: {answer}")
        ids: list[int] = answer["tokens"]
        return ids

    def close(self) -> None:
        connections = [self._idle.get() for _ in range(_CONNECTIONS)]
        for connection in connections:
            connection.close()
            self._idle.put(connection)

    def _answer(self, body: str) -> dict[str, Any]:
        connection = self._idle.get()
        try:
            return connection.post(body)
        finally:
            self._idle.put(connection)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str):
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def post(self, body: str) -> dict[str, Any]:
        try:
            return self._ask(body)
        except (http.client.HTTPException, OSError):
            self.close()  # when idle it may have been dropped
        try:
            return self._ask(body)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise EngineDied(f"llama.cpp does not answer: {error}") from error

    def _ask(self, body: str) -> dict[str, Any]:
        self.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(self.getresponse().read())
        return answer


def _ends(metadata: dict[str, Any], tokens: list[str]) -> frozenset[int]:
    named = {metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")}
    ends = {id for id, token in enumerate(tokens) if token in _ENDS} | {id for id in named if id is not None}
    if {tokens[id] for id in ends} >= _HARMONY:
        ends = {id for id in ends if tokens[id] != "<|end|>"}
    return frozenset(ends)


def _pieces(metadata: dict[str, Any], tokens: list[str], ends: frozenset[int]) -> list[bytes]:
    """Bytes of each token; special ones have none."""
    kinds: list[int] = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    plain = _byte_level if metadata["tokenizer.ggml.model"] == "gpt2" else _spaced
    pieces = []
    for id, (token, kind) in enumerate(zip(tokens, kinds, strict=True)):
        if kind in (_UNKNOWN, _CONTROL, _UNUSED) or id in ends:
            pieces.append(b"")
        elif kind == _BYTE:
            pieces.append(bytes([int(token[3:5], 16)]))  # <0x0A>
        else:
            pieces.append(token.encode() if kind == _USER else plain(token))
    return pieces


def _spaced(token: str) -> bytes:
    return token.replace("▁", " ").encode()


def _byte_level(token: str) -> bytes:
    return b"".join(_LETTERS.get(letter) or letter.encode() for letter in token)


def _letters() -> dict[str, bytes]:
    """GPT-2's alphabet for bytes: printable ones stand for themselves, the others are counted up from U+0100."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): bytes([byte]) for byte in printable}
    return letters | {chr(256 + place): bytes([byte]) for place, byte in enumerate(others)}


_LETTERS = _letters()
