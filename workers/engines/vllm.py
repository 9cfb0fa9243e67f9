"""vLLM in an environment of its own: its `AsyncLLM`, whose core is a process beside this one.

One task a request reads what vLLM generates; what all of them bring within a turn of the event loop is one step. Draws
come from a sequential generator per request, so a resumed answer is right in distribution, not bit for bit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from transformers import AutoTokenizer, GenerationConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs import TokensPrompt
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from queuechat.errors import EngineDied, InvalidRequest, Misconfigured, QueuechatError, UnsupportedParameter
from queuechat.protocol import GrammarKind, Logprob
from workers.engines.base import Caps, Finished, Prompt, Step, Tokens, Vocabulary, refuse_beyond, refuse_unknown
from workers.engines.hf_vocabulary import HFVocabulary
from workers.engines.matching import ByteMatcher
from workers.engines.no_numbers import NO_NUMBERS_HERE
from workers.engines.trial import trials
from workers.engines.vllm_numbers import count_them, tell_of_them
from workers.engines.vllm_request import logprob_of, params_of, refuse_no_number, refuse_unheard, says_again

log = logging.getLogger(__name__)

DEFAULT_RUNNING = 64
GRAMMARS: frozenset[GrammarKind] = frozenset({"json_schema", "json_object", "regex", "choice", "lark"})
_ELSEWHERE = "vLLM did not say again what was delivered before, so the answer cannot go on"


@dataclass(slots=True, eq=False)
class Running:
    """A sequence in flight. `at` is the offset of the next token, `again` how many of the prefix vLLM has to repeat."""

    prompt: Prompt
    at: int
    again: Sequence[int] = ()
    task: asyncio.Task[None] | None = None


def _cannot_compile() -> bool:
    """On a CPU torch compiles with a C++ compiler of the system: it takes minutes at each start, and gains a tenth."""
    if not current_platform.is_cpu() or shutil.which(os.environ.get("CXX", "g++")):
        return False
    log.warning("vLLM runs uncompiled, a tenth slower: there is no C++ compiler here (apt-get install g++, or set CXX)")
    os.environ["TORCH_COMPILE_DISABLE"] = "1"  # log probabilities are compiled even where the model is not to be
    return True


class VllmEngine:
    """See `workers.engines.base.Engine`. `source` is a folder or a Hub id; weights are read from safetensors only."""

    caps: Caps
    vocabulary: Vocabulary

    def __init__(
        self,
        source: str,
        *,
        dtype: str = "auto",
        max_running: int | None = None,
        max_context: int | None = None,
        revision: str | None = None,
        tensor_parallel: int | None = None,
    ):
        self._source, self._revision = source, revision
        self._max_running = max_running or DEFAULT_RUNNING
        self._args = {
            "dtype": dtype,
            "max_num_seqs": self._max_running,
            "max_model_len": max_context,
            "tensor_parallel_size": tensor_parallel or 1,
        }
        self._llm: Any = None
        self._live: dict[str, Running] = {}
        self._events: Step = []
        self._wake = asyncio.Event()
        self._admitted = 0
        self._told = False
        self._broken: set[str] = set()
        self._dead = "it was not started"

    def start(self) -> None:
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._source, revision=self._revision, trust_remote_code=False)
            args = AsyncEngineArgs(
                model=self._source,
                tokenizer=self._source,
                revision=self._revision,
                load_format="safetensors",
                enforce_eager=_cannot_compile(),
                structured_outputs_config={"backend": "guidance"},
                max_logprobs=20,
                logprobs_mode="raw_logprobs",
                enable_log_requests=False,
                disable_log_stats=True,
                **self._args,
            )
            count_them()
            self._llm = AsyncLLM.from_engine_args(args)
        except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
            raise Misconfigured(f"vLLM cannot serve {self._source}: {error}") from error
        tell_of_them(self._llm, self._broken.add)
        config = self._llm.model_config
        self._told = config.dtype == torch.float16  # sound weights make infinity without a NaN in no other
        self._size = int(config.get_vocab_size())
        self.vocabulary = HFVocabulary(tokenizer, self._ends(), self._size)
        self.caps = Caps(
            int(config.max_model_len),
            self._max_running,
            "distribution",
            embeds=False,
            device=str(self._llm.vllm_config.device_config.device_type),
            grammars=GRAMMARS if self.vocabulary.eos_ids else frozenset(),
            logprobs=True,
            quantization=str(config.quantization or ""),
        )
        self._dead = ""

    def _ends(self) -> Any:
        with suppress(OSError):
            return GenerationConfig.from_pretrained(self._source, revision=self._revision).eos_token_id
        return None

    def admit(self, prompt: Prompt) -> None:
        if self._dead:
            raise EngineDied(f"vLLM does not run: {self._dead}")
        if prompt.id in self._live:
            raise InvalidRequest(f"{prompt.id} is running already", param="id")
        refuse_beyond(prompt, self.caps)
        refuse_unheard(prompt.sampling, self._size)
        ids = [*prompt.prompt_ids, *prompt.prefix_ids]
        if not prompt.prompt_ids:
            raise InvalidRequest("a prompt needs at least one token", param="prompt")
        refuse_unknown(ids, self._size, param="prompt")
        if prompt.grammar is not None:
            prompt = replace(prompt, stop_ids=prompt.stop_ids | self.vocabulary.eos_ids)
        room = self.caps.context_length - len(prompt.prompt_ids)
        prompt = replace(prompt, max_new=min(prompt.max_new, room))
        running = self._live[prompt.id] = Running(prompt, len(prompt.prefix_ids))
        if prompt.prefix_ids and prompt.prefix_ids[-1] in prompt.stop_ids:
            self._finish(running, "stop")
        elif len(prompt.prefix_ids) >= prompt.max_new:
            self._finish(running, "length")
        else:
            self._admitted += 1
            name = f"{self._admitted}:{prompt.id}"
            running.task = asyncio.get_running_loop().create_task(self._run(running, name), name=name)

    def abort(self, id: str) -> None:
        if running := self._live.get(id):
            self._finish(running, "cancelled")
            if running.task is not None:
                running.task.cancel()  # vLLM hears of it

    async def steps(self) -> AsyncIterator[Step]:
        while True:
            self._wake.clear()
            step, self._events = self._events, []
            if step:
                yield step
            elif self._dead:
                return
            else:
                await self._wake.wait()

    def embed(self, batch: Sequence[Sequence[int]]) -> list[list[float]]:
        raise UnsupportedParameter("a model that vLLM lets write gives no embeddings", param="input")

    def running(self) -> int:
        return len(self._live)

    def close(self) -> None:
        llm, self._llm = self._llm, None
        self._dead = self._dead or "it was closed"
        if llm is not None:
            llm.shutdown()

    async def _run(self, running: Running, name: str) -> None:
        """One sequence from its first token to its end, whatever that is."""
        try:
            await self._generate(running, name)
        except EngineDeadError as error:
            self._end(str(error) or type(error).__name__)
        except QueuechatError as error:
            self._finish(running, "error", error.message, param=error.param)
        except Exception as error:  # a request that vLLM cannot do must not cost the others their engine
            log.exception("vLLM fails on %s", running.prompt.id)
            if self._llm is None or self._llm.errored:
                self._end(str(error))
            else:
                self._finish(running, "error", f"vLLM fails on this request ({type(error).__name__})")
        finally:
            self._broken.discard(name)

    async def _generate(self, running: Running, name: str) -> None:
        prompt = running.prompt
        if prompt.grammar is not None:
            await asyncio.to_thread(trials().check, prompt.grammar)
            await asyncio.to_thread(ByteMatcher, prompt.grammar)  # which says what is wrong with one
        again = says_again(prompt)
        running.again = prompt.prefix_ids if again else ()
        ids = [*prompt.prompt_ids, *(() if again else prompt.prefix_ids)]
        params = params_of(prompt, self._told)
        async with aclosing(self._llm.generate(TokensPrompt(prompt_token_ids=ids), params, name)) as outputs:
            async for output in outputs:
                if self._live.get(prompt.id) is not running:
                    return  # aborted, and there is more to come
                if name in self._broken:
                    raise QueuechatError(NO_NUMBERS_HERE)
                self._take(running, output.outputs[0])

    def _take(self, running: Running, said: Any) -> None:
        prompt, ids = running.prompt, list(said.token_ids)
        refuse_no_number(said.logprobs, ids)
        repeated = ids[: len(running.again)]
        missing = said.finish_reason and len(repeated) < len(running.again)
        if missing or repeated != list(running.again[: len(repeated)]):
            raise QueuechatError(_ELSEWHERE)
        running.again = running.again[len(repeated) :]
        if fresh := ids[len(repeated) :]:
            logprobs: list[Logprob] = []
            if (wanted := prompt.logprobs) is not None:
                told = zip(said.logprobs[len(repeated) :], fresh, strict=True)
                logprobs = [logprob_of(one, id, wanted, self.vocabulary.bytes_of) for one, id in told]
            self._post(Tokens(prompt.id, running.at, fresh, logprobs))
            running.at += len(fresh)
        if said.finish_reason in ("stop", "length"):
            self._finish(running, said.finish_reason)
        elif said.finish_reason:
            raise QueuechatError(f"vLLM ended this answer: {said.finish_reason}")

    def _end(self, why: str) -> None:
        """The end of the engine, and of all that it was running."""
        self._dead = self._dead or why
        for running in list(self._live.values()):
            self._finish(running, "error", f"vLLM died: {self._dead}", retryable=True)
        self._wake.set()

    def _finish(
        self,
        running: Running,
        reason: Literal["stop", "length", "cancelled", "error"],
        error: str = "",
        retryable: bool = False,
        param: str | None = None,
    ) -> None:
        if self._live.get(running.prompt.id) is running:
            del self._live[running.prompt.id]
            self._post(Finished(running.prompt.id, reason, error, retryable, param))

    def _post(self, event: Tokens | Finished) -> None:
        self._events.append(event)
        self._wake.set()
