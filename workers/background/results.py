"""From the parts of a batch to its output and error file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import orjson

from queuechat.dialects.lines import unrun
from queuechat.files import FileStore, new_file_id
from workers.background.asking import line_id
from workers.background.input import remaining
from workers.background.parts import Kept, Parts, Reader

_IN_MEMORY = 1 << 20


@dataclass(slots=True)
class Results:
    """The two files, None where one would be empty, and what they hold."""

    output_file_id: str | None = None
    error_file_id: str | None = None
    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    generated: int = 0

    def usage(self) -> dict[str, Any]:
        return {
            "input_tokens": self.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": self.generated,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.prompt_tokens + self.generated,
        }

    def count(self, record: dict[str, Any]) -> None:
        usage = record["response"]["body"].get("usage") or {}
        self.prompt_tokens += usage.get("prompt_tokens", usage.get("input_tokens", 0))
        self.generated += usage.get("completion_tokens", usage.get("output_tokens", 0))


def write_results(store: FileStore, parts: Parts, batch_id: str, endpoint: str, code: str) -> Results:
    """Put both files into the store: results in the order of the input, then an error of `code` (if one is given) for
    each line that has none."""
    index, results = parts.index(), Results()
    with (
        Reader() as reader,
        tempfile.SpooledTemporaryFile(_IN_MEMORY) as output,
        tempfile.SpooledTemporaryFile(_IN_MEMORY) as errors,
    ):
        for number in sorted(index):
            kept = index[number]
            _copy(kept, reader.read(kept), results, output if kept.ok else errors)
        if code and parts.has_input:
            with parts.open_input() as content:
                for line in remaining(content, index, endpoint):
                    errors.write(orjson.dumps(unrun(line, line_id(batch_id, line), code)) + b"\n")
                    results.failed += 1
        results.output_file_id = _put(store, output)
        results.error_file_id = _put(store, errors)
    return results


def _copy(kept: Kept, raw: bytes, results: Results, out: Any) -> None:
    out.write(raw + b"\n")
    if kept.ok:
        results.completed += 1
        results.count(orjson.loads(raw))
    else:
        results.failed += 1


def _put(store: FileStore, content: Any) -> str | None:
    if not content.tell():
        return None
    content.seek(0)
    id = new_file_id()
    store.put(id, content)
    return id
