"""Embeddings by a llama.cpp server of its own, beside the one that generates; it is loaded when it is needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from queuechat.errors import EngineDied, InvalidRequest
from workers.engines.base import refuse_unknown


class Embedder:
    """`load` makes the server; `size` is that of the vocabulary."""

    def __init__(self, load: Callable[[], Any], size: int):
        self._load, self._size = load, size
        self._server: Any = None
        self._lock = threading.Lock()
        self._closed = False

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        """As `Engine.embed`; an input that is empty, or longer than the context, is refused as well."""
        for ids in batch:
            refuse_unknown(ids, self._size, param="input")
        if not batch:
            return []
        with self._lock:
            if self._closed:
                raise EngineDied("llama.cpp does not run: it was closed")
            self._server = self._server or self._load()
            answer = self._server.handle_embeddings({"input": [list(ids) for ids in batch]})
        if "error" in answer:
            raise InvalidRequest(answer["error"]["message"], param="input")
        return [item["embedding"] for item in sorted(answer["data"], key=lambda item: item["index"])]

    def close(self) -> None:
        """Frees weights and caches, when what runs has ended."""
        with self._lock:
            self._closed, self._server = True, None
