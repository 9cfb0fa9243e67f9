"""A GGUF file in another form, made once and kept: safetensors for transformers, or unpacked weights for llama.cpp.

Reading the result takes a second, making it ten.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
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
    return _made_once(gguf, cache_dir, "", _write)


def unpacked(gguf: Path, dtype: str, *, cache_dir: Path | None = None) -> Path:
    """A GGUF file with the same weights in float16 or float32, for llama.cpp.

    llama.cpp rounds activations to 8 bits wherever it multiplies them with quantised weights; with these it does not.

    Raises:
        Misconfigured: another dtype, no such file, not a GGUF.
    """
    if dtype not in ("float16", "float32"):
        raise Misconfigured(f"llamacpp computes with the file's own weights, float16 or float32, not {dtype}")
    return _made_once(gguf, cache_dir, f"-{dtype}", partial(_write_gguf, dtype=dtype)) / gguf.name


def _made_once(gguf: Path, cache_dir: Path | None, suffix: str, write: Callable[[Path, Path], None]) -> Path:
    if not gguf.is_file():
        raise Misconfigured(f"{gguf} is not a file")
    root = (cache_dir or CACHE).expanduser()
    folder = root / f"{gguf.stem}-{_fingerprint(gguf)}{suffix}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        _convert_into(folder, gguf, write)
    return folder


def _fingerprint(gguf: Path) -> str:
    size = gguf.stat().st_size
    digest = hashlib.sha256(f"{RECIPE}:{size}:".encode())
    with gguf.open("rb") as file:
        digest.update(file.read(SAMPLE))
        file.seek(max(0, size - SAMPLE))
        digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:12]


def _convert_into(folder: Path, gguf: Path, write: Callable[[Path, Path], None]) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write(draft, gguf)
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


def _write_gguf(draft: Path, gguf: Path, *, dtype: str) -> None:
    from gguf import GGUFReader, GGUFWriter

    try:
        reader = GGUFReader(gguf)
        architecture = reader.fields["general.architecture"].contents()
    except (KeyError, ValueError) as error:
        raise Misconfigured(f"{gguf.name} cannot be unpacked: {error}") from error
    writer = GGUFWriter(draft / gguf.name, architecture)
    _copy_metadata(reader, writer)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, _weights(tensor, dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_metadata(reader: Any, writer: Any) -> None:
    written = {"general.architecture", "general.file_type", "general.quantization_version"}
    for field in reader.fields.values():
        if field.name not in written and not field.name.startswith("GGUF."):
            kind, *inner = field.types
            writer.add_key_value(field.name, field.contents(), kind, sub_type=inner[-1] if inner else None)


def _weights(tensor: Any, dtype: str) -> Any:
    """Vectors (norms, biases) stay in float32, as llama.cpp's own converter leaves them."""
    from gguf import dequantize

    shape = [int(size) for size in reversed(tensor.shape)]
    values = dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    return values.astype("float32" if len(shape) == 1 else dtype)
