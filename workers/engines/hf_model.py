"""A causal language model of transformers: where it lies, whether it can be batched, how much cache it gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, ContinuousBatchingConfig
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available, is_torch_npu_available

from queuechat.errors import Misconfigured
from workers.convert import converted
from workers.engines.hf_vocabulary import HFVocabulary
from workers.engines.weights import QUANTIZED_EXACTLY, Keeping, computing_on, kept_as

CPU_CACHE_BYTES = 1 << 30  # for all sequences; zeroing it is most of a warm start
CPU_CONTEXT_BYTES = 2 << 30  # for one sequence, before its context is cut
CPU_PAGE = 32  # tokens
CPU_STEP = 256  # tokens: a longer prompt is read in pieces, so that answers under way do not wait for all of it
ACCELERATOR_STEP = 2048
EMBED_TOKENS = 4096  # per forward pass
WARM_UP = [0, 0]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
BATCHABLE = {"full_attention", "sliding_attention"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model on its device, and what its files say of it. `context_length` in tokens."""

    model: Any
    vocabulary: HFVocabulary
    device: str
    context_length: int
    quantization: str = ""

    @property
    def exact(self) -> bool:
        """Whether a cut answer goes on with the same tokens: in half precision the batch's shape moves logits by more
        than close calls between tokens can bear."""
        return self.model.dtype.itemsize >= 4 and self.quantization in QUANTIZED_EXACTLY

    @property
    def on_cpu(self) -> bool:
        return self.device == "cpu"

    @property
    def text_config(self) -> Any:
        return self.model.config.get_text_config()

    @property
    def sees_everything(self) -> bool:
        """Whether every layer attends to the whole context, none through a sliding window."""
        kinds = getattr(self.text_config, "layer_types", None)
        if kinds is None:
            return getattr(self.text_config, "sliding_window", None) is None
        return set(kinds) == {"full_attention"}


def load(
    source: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    gguf_file: str | None = None,
    threads: int | None = None,
    auto: Any = AutoModelForCausalLM,
    keeping: Keeping | None = None,
) -> Loaded:
    """Loads a folder, a Hub id or a GGUF file; never code that comes with a model, never pickles.

    `threads` of the CPU are torch's, in the whole process. `auto` is the class of transformers that finds the model's,
    `keeping` tells how the weights are kept.

    Raises:
        Misconfigured: it is not there, is damaged, or is of a kind that cannot be batched continuously; or there is no
            such device or dtype.
    """
    device, keeping = device_of(device), keeping or Keeping()
    numbers = dtype_of(dtype, device)
    if threads is not None:
        torch.set_num_threads(threads)
    where = _folder(source, gguf_file)
    try:
        config = AutoConfig.from_pretrained(where, revision=revision, trust_remote_code=False)
        refuse_unbatchable(config, where)
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision, trust_remote_code=False)
        model = _model(where, revision, device, auto, keeping.options(config, device, numbers))
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        raise Misconfigured(f"cannot load {where}: {error}") from error
    if getattr(model, "_is_stateful", False):
        raise _unbatchable(where, "a recurrent state")
    if auto is AutoModelForCausalLM:
        refuse_unpaged(model, where)
    text = model.config.get_text_config()
    eos = model.generation_config.eos_token_id if model.generation_config else None
    vocabulary = HFVocabulary(tokenizer, eos, int(text.vocab_size))
    context = getattr(text, "max_position_embeddings", None) or 2048
    return Loaded(model, vocabulary, computing_on(model, device), context, kept_as(model, keeping))


def refuse_unbatchable(config: Any, name: str) -> None:
    """Raises Misconfigured for models whose layers have no paged cache."""
    if config.is_encoder_decoder:
        raise _unbatchable(name, "an encoder")
    odd = set(getattr(config.get_text_config(), "layer_types", None) or ()) - BATCHABLE
    if odd:
        raise _unbatchable(name, f"{', '.join(sorted(odd))} layers")


def refuse_unpaged(model: Any, name: str) -> None:
    """Raises Misconfigured for models that leave attention to nobody: packed with others, they would read their tokens.
    Those are GPT-J, GPT-Neo, CodeGen, MPT, Falcon and Bloom."""
    if not getattr(model, "_supports_attention_backend", False):
        raise _unbatchable(name, "an attention of its own, which knows no paged cache")


def _unbatchable(name: str, what: str) -> Misconfigured:
    return Misconfigured(
        f"{name} has {what}; the transformers engine batches decoder-only models with full or sliding-window "
        "attention. Serve it with another engine (llamacpp, vllm, remote)"
    )


def _folder(source: str, gguf_file: str | None) -> str:
    if gguf_file is None and not source.endswith(".gguf"):
        return source
    return str(converted(Path(source, gguf_file) if gguf_file else Path(source)))


def _model(where: str, revision: str | None, device: str, auto: Any, options: Mapping[str, Any]) -> Any:
    model = auto.from_pretrained(
        where,
        revision=revision,
        attn_implementation=_flash(device),
        use_safetensors=True,
        trust_remote_code=False,
        **options,
    )
    return model.eval().requires_grad_(False)


def device_of(asked: str) -> str:
    """The device that was asked for. Raises Misconfigured when torch finds none such."""
    is_torch_npu_available()  # which brings torch.npu with it
    kinds = [kind for kind in ("cuda", "xpu", "npu", "mps") if _count(kind)]
    if asked == "auto":
        return (*kinds, "cpu")[0]
    try:
        device = torch.device(asked)
    except RuntimeError:
        device = None
    if device is None or (device.index or 0) >= _count(device.type):
        here = ["auto", "cpu", *(f"{kind}:{n}" for kind in kinds for n in range(_count(kind)))]
        raise Misconfigured(f"torch finds no device {asked!r} on this machine: use {', '.join(here)}")
    return "cpu" if device.type == "cpu" else asked


def _count(kind: str) -> int:
    """Devices of a kind that this torch can use."""
    module: Any = getattr(torch, kind, None)
    return int(module.device_count()) if module is not None and module.is_available() else 0


def dtype_of(dtype: str, device: str) -> torch.dtype:
    """The numbers of a model. Raises Misconfigured for an unknown name."""
    name = ("float32" if device == "cpu" else "bfloat16") if dtype == "auto" else dtype
    if name not in DTYPES:
        raise Misconfigured(f"dtype {dtype!r} is unknown: use auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def _flash(device: str) -> str | None:
    """A flash kernel that is installed. What transformers would fetch from the Hub is code, so it is not asked."""
    if not device.startswith("cuda"):
        return None
    if is_flash_attn_3_available():
        return "flash_attention_3"
    return "flash_attention_2" if is_flash_attn_2_available() else None


def token_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of cache that one token takes in all layers."""
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * kv_heads * head_dim * dtype.itemsize)


def cache_plan(loaded: Loaded, max_running: int, max_context: int | None) -> tuple[Any, int]:
    """The manager's configuration, and the context length that it can hold.

    On the CPU the cache is bounded: by default the manager takes 60 % of the memory. It always holds one sequence of
    full length, so that a crowd of long ones comes to its end: where they do not fit, the manager requeues the newest.
    """
    context = min(max_context or loaded.context_length, loaded.context_length)
    config = {"use_async_batching": False, "use_cuda_graph": False, "auto_switch_to_flash": False}
    if not loaded.on_cpu:
        return ContinuousBatchingConfig(
            max_batch_tokens=max(ACCELERATOR_STEP, max_running), max_requests_per_batch=max_running, **config
        ), context
    per_token = token_bytes(loaded.text_config, loaded.model.dtype)
    context = context if max_context else min(context, CPU_CONTEXT_BYTES // per_token)
    tokens = max(context, min(CPU_CACHE_BYTES // per_token, context * max_running))
    return ContinuousBatchingConfig(
        page_size=CPU_PAGE,
        num_blocks=ceil(tokens / CPU_PAGE) + 1,
        max_batch_tokens=max(CPU_STEP, max_running),
        max_requests_per_batch=max_running,
        max_blocks_per_request=0,
        **config,
    ), context


def computes(model: Any) -> bool:
    """Whether the model still answers the tokens that it was warmed up with in numbers."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([WARM_UP], device=model.device), use_cache=False).logits
    return bool(logits.amax().isfinite())


def mean_pooled(model: Any, batch: Sequence[Sequence[int]]) -> list[list[float]]:
    """The mean of the last hidden states, L2-normalised in float32; one vector per input, in order.

    Inputs of one length share a forward pass, so that nothing is padded and none depends on its neighbours' lengths.
    """
    vectors: dict[int, list[float]] = {}
    with torch.inference_mode():
        for indices in by_length(batch):
            ids = torch.tensor([list(batch[i]) for i in indices], device=model.device)
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state.float().mean(dim=1)
            vectors.update(zip(indices, torch.nn.functional.normalize(hidden, dim=-1).tolist(), strict=True))
    return [vectors[i] for i in range(len(batch))]


def by_length(batch: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Places of inputs that can share a forward pass: of one length, and not too many tokens together."""
    groups: dict[int, list[int]] = {}
    for i, ids in enumerate(batch):
        groups.setdefault(len(ids), []).append(i)
    for length, indices in sorted(groups.items()):
        width = max(1, EMBED_TOKENS // length)
        yield from (indices[start : start + width] for start in range(0, len(indices), width))
