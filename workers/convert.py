"""A GGUF file as a folder of safetensors, made once and kept: reading it back takes a second, unpacking it ten."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from queuechat.errors import Misconfigured

RECIPE = "1"  # change it when the same file would now be converted otherwise
SAMPLE = 4 << 20  # bytes of head and of tail that identify a file; the head holds all its metadata
CACHE = Path("~/.cache/queuechat/models")


def converted(gguf: Path, *, cache_dir: Path | None = None) -> Path:
    """The folder with the model, tokenizer, chat template and generation config of a GGUF file.

    Converts on the first call, and again when the file has changed. Two processes may convert at once: the folder
    appears by a rename, and the one that comes second throws its own away.

    Raises:
        Misconfigured: no such file, not a GGUF, or an architecture that transformers cannot unpack.
    """
    if not gguf.is_file():
        raise Misconfigured(f"{gguf} is not a file")
    root = (cache_dir or CACHE).expanduser()
    folder = root / f"{gguf.stem}-{_fingerprint(gguf)}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        _convert_into(folder, gguf)
    return folder


def _fingerprint(gguf: Path) -> str:
    size = gguf.stat().st_size
    digest = hashlib.sha256(f"{RECIPE}:{size}:".encode())
    with gguf.open("rb") as file:
        digest.update(file.read(SAMPLE))
        file.seek(max(0, size - SAMPLE))
        digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:12]


def _convert_into(folder: Path, gguf: Path) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(draft, gguf)
        draft.chmod(0o755)
        os.rename(draft, folder)
    except OSError as error:
        if not folder.is_dir():
            raise Misconfigured(f"cannot write the converted model to {folder}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(draft: Path, gguf: Path) -> None:
    try:
        tokenizer, model = _unpack(gguf)
    except (ImportError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise Misconfigured(f"transformers cannot unpack {gguf.name}: {error}; use --engine llamacpp") from error
    tokenizer.save_pretrained(draft)
    model.save_pretrained(draft)
    model.generation_config.save_pretrained(draft)


def _unpack(gguf: Path) -> tuple[Any, Any]:
    """Tokenizer and model in float16: eleven bits of mantissa are more than any quantisation leaves."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, name = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.float16, quantization_config=GgufConfig(dequantize=True)
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return tokenizer, model
