"""How models write calls of tools, and how one answer is to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write calls. `mark` comes before them, `close` after them ("" where nothing does); `bare` calls may
    also come without the mark, as the first thing of an answer; `heads` are names before the braces of arguments."""

    mark: str = ""
    close: str = ""
    bare: bool = False
    heads: tuple[str, ...] = ()


#: What `--tool-format` takes, and `ModelCard.tool_format` says.
FORMATS: Mapping[str, Form] = {
    "hermes": Form("<tool_call>", "</tool_call>"),  # NousResearch's Hermes, Qwen2.5, Qwen3
    "llama3": Form("<|python_tag|>", bare=True),
    "mistral": Form("[TOOL_CALLS]", heads=("[CALL_ID]", "[ARGS]")),
    "json": Form(bare=True),  # told to the model in a system message; also what a grammar for calls makes
}


@dataclass(frozen=True, slots=True)
class Manner:
    """How one answer is read. `tools` is one of FORMATS, "relayed" where a provider elsewhere has told the parts apart,
    or "" where no call is looked for.

    `names` are the tools on offer: bare JSON is a call only of one of them. `most` calls are kept, 0 is all.
    `reasoning` is the name of the tag around thoughts, "" for a model that has none.
    """

    tools: str = ""
    names: frozenset[str] = frozenset()
    most: int = 0
    reasoning: str = ""

    @property
    def thinks(self) -> bool:
        """Whether there may be thoughts."""
        return bool(self.reasoning) or self.tools == "relayed"

    @property
    def plain(self) -> bool:
        """Whether all text is content."""
        return not (self.tools or self.reasoning)


def tags(reasoning: str) -> tuple[str, str]:
    """What opens and closes thoughts."""
    return f"<{reasoning}>", f"</{reasoning}>"


def markers(tools: str, reasoning: str) -> frozenset[str]:
    """Everything that must not be dropped from the text for such an answer to be read, special token or not."""
    form = FORMATS[tools] if tools else Form()
    told = {form.mark, form.close, *form.heads, *(tags(reasoning) if reasoning else ())}
    return frozenset(told - {""})
