"""Answers held to a grammar: llguidance tells, after each token, which tokens may come next.

A matcher is a grammar and a place in it. It is tried in another process, then compiled beside the event loop, and is
then moved on by the engine's thread. What it allows depends on the tokens alone, so a matcher that is fed the tokens of
an answer stands where the one stood that drew them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from llguidance import LLExecutor
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par
from torch import Tensor

from queuechat.protocol import Grammar, GrammarKind
from workers.engines.matching import compiled
from workers.engines.trial import PROCESSES, trials
from workers.text.grammar import check_grammar

KINDS: frozenset[GrammarKind] = frozenset({"json_schema", "json_object", "regex", "choice", "lark"})
_KEPT = 64  # compiled grammars: most requests come with one of a few


class Compiler:
    """Matchers for one vocabulary, an `LLTokenizer`."""

    def __init__(self, lexicon: Any):
        self._lexicon = lexicon
        self._compiled: OrderedDict[Grammar, Any] = OrderedDict()
        self._threads = ThreadPoolExecutor(PROCESSES, thread_name_prefix="grammar")

    async def matcher(self, grammar: Grammar) -> Any:
        """A matcher at the beginning of the grammar.

        Raises:
            InvalidRequest: the grammar is wrong, too large, needs what llguidance does not have, or takes too much.
        """
        check_grammar(grammar)
        if grammar not in self._compiled:
            pristine = await asyncio.get_running_loop().run_in_executor(self._threads, self._compile, grammar)
            self._compiled[grammar] = pristine
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
            return pristine.deep_copy()
        self._compiled.move_to_end(grammar)
        return self._compiled[grammar].deep_copy()

    def _compile(self, grammar: Grammar) -> Any:
        trials().check(grammar)
        return compiled(self._lexicon, grammar)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Masks:
    """What the matchers of one step allow, computed side by side."""

    def __init__(self) -> None:
        self._executor: Any = None

    def of(self, matchers: Sequence[Any], vocab: int) -> Tensor:
        """[matchers, ceil(vocab / 32)] int32: token v may come next where bit v % 32 of word v // 32 is set."""
        self._executor = self._executor or LLExecutor()
        masks = allocate_token_bitmask(len(matchers), vocab)
        fill_next_token_bitmask_par(self._executor, [(matcher, row) for row, matcher in enumerate(matchers)], masks)
        return torch.from_numpy(np.ascontiguousarray(masks))
