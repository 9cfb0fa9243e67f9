"""A model's continuous batching with our sampler, our router, and grammars where its tokenizer allows them."""

from __future__ import annotations

import logging
from typing import Any

from transformers import GenerationConfig

from queuechat.errors import Misconfigured
from workers.engines import packed_attention
from workers.engines.batch_router import Router
from workers.engines.batch_sampler import BatchSampler, install, make_room
from workers.engines.constraint import Compiler
from workers.engines.hf_model import WARM_UP, Loaded
from workers.engines.lean_layer import make_lean
from workers.engines.packed_linear import pack_linears

log = logging.getLogger(__name__)


def manager_of(loaded: Loaded, plan: Any) -> tuple[Any, Router]:
    """The continuous batching manager of a model, not started, and the router that takes what it makes."""
    model, sampler = loaded.model, BatchSampler()
    install(model, sampler)
    if loaded.on_cpu:
        pack_linears(model)
    manager = model.init_continuous_batching(GenerationConfig(do_sample=False, eos_token_id=-1), plan)
    make_room(manager)
    if loaded.on_cpu and loaded.sees_everything and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(packed_attention.NAME)
        make_lean(model)
    manager.output_router = Router(manager, sampler)
    return manager, manager.output_router


def compiler_of(loaded: Loaded) -> Compiler | None:
    """None for a tokenizer that llguidance cannot read; then there are no bytes of tokens, so no logprobs either."""
    try:
        return Compiler(loaded.vocabulary.lexicon)
    except Exception as error:
        log.warning("no grammars and no logprobs: llguidance cannot read this model's tokenizer (%s)", error)
        return None


def warm_up(manager: Any, router: Router) -> None:
    """One token, so that the first user does not pay for lazy loading, and a model that cannot run says so now."""
    manager.add_request(list(WARM_UP), request_id="warm up", max_new_tokens=1, eos_token_id=[])
    while not router.warm.wait(timeout=0.1):
        if not manager.is_running():
            raise Misconfigured(f"the model does not run: {manager.background_thread_status.fatal_error}")
