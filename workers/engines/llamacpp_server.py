"""Making a llama.cpp server in this process, with those of its defaults switched off that would surprise."""

from __future__ import annotations

import os
from typing import Any

from queuechat.errors import Misconfigured
from workers.waiting import waiting

_MISSING = (
    "llama.cpp cannot be loaded ({error}): pip install 'queuechat[llamacpp]', and where libgomp.so.1 is missing, "
    "apt-get install libgomp1"
)
_REFUSED = (
    "llama.cpp cannot load {path!r} with {slots} x {context} tokens of context ({error}): it may not know this kind of "
    "model, or memory may not suffice; try a smaller max_running or max_context"
)


def load_server(
    path: str,
    socket: str,
    *,
    slots: int,
    context: int,
    batch: int,
    threads: int | None = None,
    gpu_layers: int | None = None,
    embedding: bool = False,
) -> Any:
    """An `xllamacpp.Server` that listens at the path `socket`. Context (of a slot) and batch are in tokens.

    Raises:
        Misconfigured: it is not installed, or cannot load the model; why is only in its log.
    """
    xllamacpp = _xllamacpp()
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.hostnames = [socket]
    params.ui = params.endpoint_slots = False
    params.verbosity = 0
    params.n_parallel = slots
    params.n_ctx = slots * context
    params.n_batch = params.n_ubatch = batch
    params.cache_ram_mib = 0  # by default it keeps up to 8 GiB of old prompts
    params.cache_idle_slots = False
    if threads is not None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if gpu_layers is not None:
        params.n_gpu_layers = gpu_layers
    if embedding:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    try:
        return xllamacpp.Server(params)
    except Exception as error:
        raise Misconfigured(_REFUSED.format(path=path, slots=slots, context=context, error=error)) from error


def device() -> str:
    """The accelerators that llama.cpp sees, else "cpu"."""
    names = [device["name"] for device in _xllamacpp().get_device_info()]
    return ", ".join(name for name in names if name != "CPU") or "cpu"


def _xllamacpp() -> Any:
    os.environ.update(waiting(os.environ))  # a program of others may run the engine in its own process
    try:
        import xllamacpp
    except ImportError as error:
        raise Misconfigured(_MISSING.format(error=error)) from error
    return xllamacpp
