"""A `Prompt` as a request of llama.cpp's server (`/v1/completions`), with every default of its own switched off."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from queuechat.errors import UnsupportedParameter
from queuechat.protocol import Sampling
from workers.engines.base import Prompt
from workers.text.grammar import lark_of

_NEVER = False  # how a bias of minus infinity is written
_SPARE = 3  #: tokens that can complete half a character


def completion_request(prompt: Prompt, *, context: int, vocabulary: int, ends: frozenset[int]) -> dict[str, Any]:
    """The request. `context` in tokens, `vocabulary` in ids; `ends` are the ids at which llama.cpp stops by itself.

    It asks for a few tokens more than `max_new`: llama.cpp keeps half a character to itself, and so its ids. Under a
    grammar it asks for the whole answer, the prefix included.

    Raises:
        UnsupportedParameter: llama.cpp has no such sampling; `param` names it.
    """
    sampling = prompt.sampling
    _check(sampling, vocabulary)
    prefix = [] if prompt.grammar else prompt.prefix_ids
    grammar = {"grammar": f"%llguidance {{}}\n{lark_of(prompt.grammar, any_space=True)}"} if prompt.grammar else {}
    penalised = sampling.repetition_penalty != 1.0 or sampling.frequency_penalty != 0.0
    greedy = sampling.temperature == 0
    return {
        "prompt": [*prompt.prompt_ids, *prefix],
        "n_predict": prompt.max_new - len(prefix) + _SPARE,
        "stream": True,
        "return_tokens": True,
        "verbose": True,  # the only way to the ids that does not sort the vocabulary for each token
        **({} if prompt.logprobs is None else {"logprobs": max(1, prompt.logprobs)}),
        "return_progress": True,  # calls back during a long prefill, so that it can be cancelled
        "cache_prompt": True,
        "samplers": _samplers(sampling, penalised=penalised),
        "temperature": 1.0 if greedy else sampling.temperature,
        "top_k": 1 if greedy else sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": 0.0,
        "repeat_last_n": context if penalised else 0,
        "seed": seed(sampling, len(prefix)),
        "ignore_eos": not ends & prompt.stop_ids,
        "logit_bias": _biases(prompt, ends),
        **grammar,
    }


def _samplers(sampling: Sampling, *, penalised: bool) -> list[str]:
    """Those that change something: each takes a walk over the vocabulary, for each token. In the order of transformers;
    llama.cpp's own has the temperature last, and more filters."""
    if sampling.temperature == 0:
        return ["penalties", "top_k"] if penalised else ["top_k"]
    wanted = {
        "penalties": penalised,
        "temperature": sampling.temperature != 1.0,
        "top_k": sampling.top_k > 0,
        "top_p": sampling.top_p < 1.0,
        "min_p": sampling.min_p > 0.0,
    }
    return [name for name, changes in wanted.items() if changes]


def seed(sampling: Sampling, position: int) -> int:
    """32 bits for a generator that starts at `position`; 2**32 - 1 would mean "random" to llama.cpp."""
    name = f"{sampling.seed} {sampling.choice} {position}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) % (2**32 - 1)


def _check(sampling: Sampling, vocabulary: int) -> None:
    if sampling.presence_penalty:
        raise UnsupportedParameter(
            "llama.cpp counts the prompt in its presence penalty; use frequency_penalty", param="presence_penalty"
        )
    if sampling.frequency_penalty and sampling.repetition_penalty != 1.0:
        raise UnsupportedParameter(
            "with llama.cpp, frequency_penalty and repetition_penalty exclude each other", param="frequency_penalty"
        )
    if unknown := [id for id in sampling.logit_bias if not 0 <= id < vocabulary]:
        raise UnsupportedParameter(f"this model has no token {unknown[0]}", param="logit_bias")


def _biases(prompt: Prompt, ends: frozenset[int]) -> list[list[int | float | bool]]:
    """The user's biases; ends that this prompt does not want are forbidden.

    llama.cpp's frequency penalty counts the prompt as well: a bias gives back what the prompt is charged.
    """
    biases = dict(prompt.sampling.logit_bias)
    if penalty := prompt.sampling.frequency_penalty:
        for id, count in Counter(prompt.prompt_ids).items():
            biases[id] = biases.get(id, 0.0) + penalty * count
    forbidden = ends - prompt.stop_ids if ends & prompt.stop_ids else frozenset()
    pairs: list[list[int | float | bool]] = [[id, bias] for id, bias in biases.items()]
    return pairs + [[id, _NEVER] for id in sorted(forbidden)]
