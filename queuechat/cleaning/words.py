"""What an answer must not say if its battle is to count: FastChat's lists, and the models' own names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

IDENTITIES = (
    *("vicuna", "lmsys", "koala", "uc berkeley", "open assistant", "laion", "chatglm", "chatgpt", "gpt-4", "openai"),
    *("anthropic", "claude", "bard", "palm", "lamda", "google", "gemini", "llama", "qianwan", "qwen", "alibaba"),
    *("mistral", "zhipu", "keg lab", "01.ai", "ai2", "tülu", "tulu", "deepseek", "hermes", "cohere", "dbrx"),
    "databricks",
)
#: Of these, and of their like, the names that mean nothing else where they stand alone. What says one of them before
#: the vote is marked there and then, for good; all others are left to the cleaning, whose rules can change.
MAKERS = (
    *("lmsys", "open assistant", "chatglm", "chatgpt", "gpt-4", "gpt-4o", "gpt-5", "openai", "anthropic", "smollm"),
    *("qwen", "tongyi", "zhipu", "deepseek", "dbrx", "databricks", "mistral ai", "hugging face", "google deepmind"),
)
ERRORS = (
    "network error due to high traffic. please regenerate or refresh this page.",
    "$moderation$ your input violates our content moderation guidelines.",
    "api request error. please increase the number of max tokens.",
    "**api request error**",
)
UNFINISHED = ("▌", '<span class="cursor">')


def says_one_of(words: Iterable[str], text: str) -> bool:
    """Whether lower-case text has one of these, even within a word, as FastChat searches it."""
    return any(word in text for word in words)


def names_one_of(models: Iterable[str], text: str) -> bool:
    """Whether lower-case text names one of these models: whole words, since names of one's own can be any word."""
    return any(_last(model) in text and _named(model).search(text) for model in map(str.lower, models) if model)


@cache
def _named(model: str) -> re.Pattern[str]:
    """The name, or its last part when it is a path."""
    names = {model, _last(model)}
    return re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(name) for name in sorted(names) if name)})(?!\w)")


def _last(model: str) -> str:
    return model.rpartition("/")[2]
