"""Answers that tell who wrote them: a vote on one is recorded, but is no blind vote, so ratings leave it out."""

from __future__ import annotations

import re
from collections.abc import Iterable

# The identities that FastChat's cleaning of battles looks for, and those of models that came later.
_IDENTITIES = (
    "vicuna", "lmsys", "koala", "uc berkeley", "open assistant", "laion", "chatglm", "chatgpt", "gpt-4", "gpt-5",
    "openai", "anthropic", "claude", "bard", "palm", "lamda", "gemini", "google", "llama", "meta ai", "qianwan", "qwen",
    "alibaba", "mistral", "zhipu", "keg lab", "01.ai", "ai2", "tülu", "tulu", "deepseek", "hermes", "cohere", "dbrx",
    "databricks", "grok", "xai", "smollm", "hugging face", "huggingface", "moonshot", "kimi",
    "nemotron", "phi-3", "phi-4",
)  # fmt: skip


def leaks(answers: Iterable[str], models: Iterable[str]) -> bool:
    """Whether an answer names a maker of models, or one of these models."""
    names = {*_IDENTITIES, *(name.lower() for name in models)}
    told = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(names)))})", re.IGNORECASE)
    return any(told.search(answer) for answer in answers)
