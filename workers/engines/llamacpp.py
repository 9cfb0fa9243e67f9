"""GGUF models on any machine: llama.cpp's own server, in this process, by `xllamacpp`.

Continuous batching is llama.cpp's (one slot a sequence); a thread a slot waits in `handle_completions`, and what its
callback brings goes into one queue. Draws come from a sequential generator, so a resumed answer is right in
distribution, not bit for bit.
"""

from __future__ import annotations

import atexit
import queue
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from queuechat.errors import EngineDied, Misconfigured, QueuechatError
from queuechat.protocol import GrammarKind
from workers.engines.base import Caps, Finished, Prompt, Step, Tokens, Vocabulary, refuse_beyond, refuse_unknown
from workers.engines.gathering import Gathering
from workers.engines.gguf_metadata import read_metadata
from workers.engines.gguf_vocabulary import GgufVocabulary, ServerTokenizer
from workers.engines.llamacpp_embedder import Embedder
from workers.engines.llamacpp_request import completion_request
from workers.engines.llamacpp_sequence import Running, Token
from workers.engines.llamacpp_server import device, load_server
from workers.engines.trial import PROCESSES

DEFAULT_RUNNING = 8
DEFAULT_CONTEXT = 4096  #: tokens a sequence; the cache of all slots is allocated at start
_GRAMMARS: frozenset[GrammarKind] = frozenset({"json_schema", "json_object", "regex", "choice", "lark"})
_BATCH = 512  #: tokens of prompts in one step, for which all who decode must wait


class LlamaCppEngine:
    """One GGUF file. `max_context` in tokens a sequence, `gpu_layers` counted from the output; None: what fits."""

    caps: Caps
    vocabulary: Vocabulary

    def __init__(
        self,
        path: str,
        *,
        max_running: int | None = None,
        max_context: int | None = None,
        threads: int | None = None,
        gpu_layers: int | None = None,
    ):
        self._path = path
        self._max_running = max_running or DEFAULT_RUNNING
        self._max_context = max_context
        self._threads = threads
        self._gpu_layers = gpu_layers
        self._server: Any = None
        self._embedder: Embedder | None = None
        self._folder = ""
        self._tokenizer: ServerTokenizer | None = None
        self._slots: list[threading.Thread] = []
        self._grammars = ThreadPoolExecutor(PROCESSES, thread_name_prefix="grammar")
        self._waiting: queue.SimpleQueue[Running | None] = queue.SimpleQueue()
        self._gathering = Gathering()
        self._lock = threading.RLock()  # of all below
        self._live: dict[str, Running] = {}
        self._speaking = 0  # of them have said something, and have a token in each step
        self._ended = "not started"

    def start(self) -> None:
        """Map the weights, allocate the caches, run one warm-up step.

        Raises:
            Misconfigured: xllamacpp is missing, the file is none of its models, or memory does not suffice.
        """
        try:
            self._start(read_metadata(self._path))
        except BaseException:
            self.close()
            raise

    def _start(self, metadata: dict[str, Any]) -> None:
        if "tokenizer.ggml.tokens" not in metadata:
            raise Misconfigured(f"{self._path!r} has no vocabulary: take the first file of a split model")
        trained = metadata.get(f"{metadata.get('general.architecture')}.context_length", DEFAULT_CONTEXT)
        context = min(trained, self._max_context or DEFAULT_CONTEXT)
        where = "cpu" if self._gpu_layers == 0 else device()
        self.caps = Caps(
            context, self._max_running, "distribution", embeds=True, device=where, grammars=_GRAMMARS, logprobs=True
        )
        self._folder = tempfile.mkdtemp(prefix="queuechat-")
        socket = str(Path(self._folder) / "llamacpp.sock")
        load = partial(load_server, self._path, context=context, threads=self._threads, gpu_layers=self._gpu_layers)
        self._server = load(socket, slots=self._max_running, batch=min(_BATCH, context))
        self._tokenizer = ServerTokenizer(socket)
        self.vocabulary = self._gguf = GgufVocabulary(metadata, self._tokenizer)
        embedding = partial(load, str(Path(self._folder) / "embed.sock"), slots=1, batch=context, embedding=True)
        self._embedder = Embedder(embedding, len(self._gguf))
        self._slots = [threading.Thread(target=self._serve, daemon=True) for _ in range(self._max_running)]
        self._ended = ""
        for slot in self._slots:
            slot.start()
        # A daemon thread that is still in C++ when the interpreter goes would crash it.
        atexit.register(self.close)

    def admit(self, prompt: Prompt) -> None:
        with self._lock:
            if self._ended:
                raise EngineDied(f"llama.cpp does not run: {self._ended}")
            refuse_beyond(prompt, self.caps)
            refuse_unknown([*prompt.prompt_ids, *prompt.prefix_ids], len(self._gguf), param="prompt")
            if prompt.grammar is not None:
                prompt = replace(prompt, stop_ids=prompt.stop_ids | self.vocabulary.eos_ids)
            context = self.caps.context_length
            prompt = replace(prompt, max_new=min(prompt.max_new, context - len(prompt.prompt_ids)))
            request = completion_request(
                prompt, context=context, vocabulary=len(self._gguf), ends=self.vocabulary.eos_ids
            )
            sequence = Running(prompt, request, offset=len(prompt.prefix_ids))
            self._live[prompt.id] = sequence
            if len(prompt.prompt_ids) >= context:
                self._finish(sequence, "error", f"the prompt does not fit the context of {context} tokens")
            elif prompt.prefix_ids and prompt.prefix_ids[-1] in prompt.stop_ids:
                self._finish(sequence, "stop")
            elif len(prompt.prefix_ids) >= prompt.max_new:
                self._finish(sequence, "length")
            elif prompt.grammar is None:
                self._waiting.put(sequence)
            else:
                self._grammars.submit(self._prepare, sequence)

    def abort(self, id: str) -> None:
        with self._lock:
            if sequence := self._live.get(id):
                self._finish(sequence, "cancelled")

    def steps(self) -> AsyncIterator[Step]:
        return self._gathering.steps()

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        if self._ended or self._embedder is None:
            raise EngineDied(f"llama.cpp does not run: {self._ended}")
        return self._embedder.embed(batch)

    def running(self) -> int:
        with self._lock:
            return len(self._live)

    def close(self) -> None:
        self._end("it was closed")
        self._grammars.shutdown(wait=False, cancel_futures=True)
        for _ in self._slots:
            self._waiting.put(None)
        for slot in self._slots:
            slot.join()
        self._slots = []
        if self._tokenizer is not None:
            self._tokenizer.close()
        if self._embedder is not None:
            self._embedder.close()
        self._server = None  # the last reference: frees weights and caches
        shutil.rmtree(self._folder, ignore_errors=True)
        atexit.unregister(self.close)

    def _prepare(self, sequence: Running) -> None:
        """Before its turn, so that no slot waits for a grammar."""
        if sequence.over:
            return
        try:
            sequence.prepare()
        except QueuechatError as error:
            self._finish(sequence, "error", error.message, param=error.param)
        except Exception as error:  # a grammar must not cost the others their engine
            self._finish(sequence, "error", f"this grammar fails ({error})", param="response_format")
        else:
            self._waiting.put(sequence)

    def _serve(self) -> None:
        """One slot: a sequence at a time, in the order of admission."""
        while (sequence := self._waiting.get()) is not None:
            if sequence.over:
                continue
            try:
                self._server.handle_completions(sequence.request, partial(self._receive, sequence))
            except QueuechatError as error:
                self._finish(sequence, "error", error.message, param=error.param)
            except Exception as error:
                self._end(f"{type(error).__name__}: {error}")
            self._last_word(sequence)

    def _last_word(self, sequence: Running) -> None:
        """What llama.cpp has ended by itself."""
        if sequence.native is None:
            self._finish(sequence, "error", "llama.cpp gave no answer", retryable=True)
        elif sequence.native != "stop":
            self._finish(sequence, "length")
        else:
            self._stop(sequence)

    def _receive(self, sequence: Running, result: dict[str, Any]) -> bool:
        """Callback of llama.cpp, in a thread of its own; True ends the generation."""
        if error := result.get("error"):
            self._refuse(sequence, error)
            return True
        if tokens := sequence.tokens(result, self._gguf):
            self._deliver(sequence, tokens)
            self._gathering.join()
        sequence.native = result["choices"][0]["finish_reason"]
        return sequence.over

    def _deliver(self, sequence: Running, tokens: list[Token]) -> None:
        prompt = sequence.prompt
        end = next((place for place, (id, _) in enumerate(tokens) if id in prompt.stop_ids), None)
        with self._lock:
            if sequence.over:
                return
            try:
                news = sequence.checked(tokens[:end], self._gguf)[: prompt.max_new - sequence.offset]
            except QueuechatError as error:
                self._finish(sequence, "error", error.message)
                return
            if news:
                ids = [id for id, _ in news]
                logprobs = [logprob for _, logprob in news if logprob is not None]
                self._gathering.post(Tokens(prompt.id, sequence.offset, ids, logprobs), of=self._begun(sequence))
                sequence.offset += len(ids)
            if sequence.offset >= prompt.max_new:
                self._finish(sequence, "length")
            elif end is not None:
                self._stop(sequence)

    def _stop(self, sequence: Running) -> None:
        try:
            sequence.check_end()
        except QueuechatError as error:
            self._finish(sequence, "error", error.message)
        else:
            self._finish(sequence, "stop")

    def _refuse(self, sequence: Running, error: dict[str, Any]) -> None:
        """A code below 500 speaks of the request; the others of a llama.cpp that cannot go on."""
        message = str(error.get("message", error))
        if int(error.get("code", 500)) < 500:
            self._finish(sequence, "error", message)
        else:
            self._end(message)

    def _end(self, why: str) -> None:
        """The end of the engine, and of all that it was running."""
        with self._lock:
            self._ended = self._ended or why
            for sequence in list(self._live.values()):
                self._finish(sequence, "error", f"llama.cpp ended: {why}", retryable=True)
            self._gathering.end()

    def _finish(
        self,
        sequence: Running,
        reason: Literal["stop", "length", "cancelled", "error"],
        error: str = "",
        retryable: bool = False,
        param: str | None = None,
    ) -> None:
        with self._lock:
            if not sequence.over:
                sequence.over = True
                self._live.pop(sequence.prompt.id, None)
                self._speaking -= sequence.spoken
                self._gathering.post(Finished(sequence.prompt.id, reason, error, retryable, param), of=0)

    def _begun(self, sequence: Running) -> int:
        """For how many tokens those of this sequence wait: its first ones for none."""
        if sequence.spoken:
            return self._speaking
        sequence.spoken = True
        self._speaking += 1
        return 0
