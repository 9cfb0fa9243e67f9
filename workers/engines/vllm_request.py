"""A `Prompt` as a request of vLLM's, and what vLLM says of a token as we say it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from queuechat.errors import QueuechatError, UnsupportedParameter
from queuechat.protocol import Grammar, Logprob, Sampling
from workers.engines.base import Prompt
from workers.engines.llamacpp_request import seed
from workers.engines.no_numbers import NO_NUMBERS_HERE
from workers.sampling import COLDEST, refuse_unusable
from workers.text.grammar import lark_of

_COLD = 0.01  # vLLM takes lower temperatures for this one
_MOST_BIAS = 100.0


def refuse_unheard(sampling: Sampling, vocabulary: int) -> None:
    """Raises UnsupportedParameter, naming the parameter, for what vLLM would change in silence or has not got."""
    refuse_unusable(sampling, vocabulary)
    if COLDEST <= sampling.temperature < _COLD:
        raise UnsupportedParameter(f"vLLM has temperature 0, and from {_COLD} on", param="temperature")
    if not all(abs(bias) <= _MOST_BIAS for bias in sampling.logit_bias.values()):
        raise UnsupportedParameter("vLLM has biases from -100 to 100", param="logit_bias")
    if not (-2 <= sampling.presence_penalty <= 2 and -2 <= sampling.frequency_penalty <= 2):
        name = "frequency_penalty" if abs(sampling.frequency_penalty) > 2 else "presence_penalty"
        raise UnsupportedParameter(f"vLLM has a {name} from -2 to 2", param=name)


def says_again(prompt: Prompt) -> bool:
    """Whether the whole answer is to be said again, from the same seed, prefix included: to vLLM a prefix is prompt, in
    which no grammar runs and which these penalties do not count."""
    sampling = prompt.sampling
    return bool(prompt.prefix_ids) and bool(prompt.grammar or sampling.presence_penalty or sampling.frequency_penalty)


def params_of(prompt: Prompt, told: bool) -> SamplingParams:
    """How vLLM is to draw; `told` of each token's log probability, whether or not the prompt asks for it."""
    sampling, again = prompt.sampling, says_again(prompt)
    before = 0 if again else len(prompt.prefix_ids)
    return SamplingParams(
        temperature=sampling.temperature if sampling.temperature >= COLDEST else 0.0,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        logit_bias=dict(sampling.logit_bias) or None,
        seed=seed(sampling, before),
        max_tokens=prompt.max_new - before,
        stop_token_ids=sorted(prompt.stop_ids),
        ignore_eos=True,  # the ends are among the stop ids, where they are wanted
        logprobs=0 if told and prompt.logprobs is None else prompt.logprobs,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        structured_outputs=_held_to(prompt.grammar),
    )


def _held_to(grammar: Grammar | None) -> StructuredOutputsParams | None:
    return None if grammar is None else StructuredOutputsParams(grammar=lark_of(grammar, compact=True))


def refuse_no_number(logprobs: list[Mapping[int, Any]] | None, ids: list[int]) -> None:
    """Raises QueuechatError for tokens that were not drawn from numbers."""
    if logprobs and not all(math.isfinite(told[id].logprob) for told, id in zip(logprobs, ids, strict=True)):
        raise QueuechatError(NO_NUMBERS_HERE)


def logprob_of(told: Mapping[int, Any], id: int, wanted: int, bytes_of: Callable[[int], bytes]) -> Logprob:
    """What vLLM tells of one token and of the likeliest in its place."""
    likeliest = sorted(told.items(), key=lambda item: item[1].rank)[:wanted]
    top = [(bytes_of(other), round(one.logprob, 6)) for other, one in likeliest]
    return Logprob(bytes_of(id), round(told[id].logprob, 6), top)
