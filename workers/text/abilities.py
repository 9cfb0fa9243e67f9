"""What a chat template tells of its model: how it calls tools, and whether it thinks aloud."""

from __future__ import annotations

from queuechat.dialects.speech import FORMATS
from queuechat.errors import Misconfigured
from workers.text.template import variables

NONE = "none"  #: said by who wants no such thing looked for

_THOUGHTS = "think"  # the tag of Qwen3, DeepSeek-R1, QwQ, SmolLM3 and most others

#: Of each format what is in a template that speaks it, and what is not.
_SIGNS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("hermes", ("<tool_call>", "</tool_call>"), ("<function=", "<arg_key>")),
    ("mistral", ("[TOOL_CALLS]",), ()),
    ("llama3", ("<|python_tag|>",), ()),
    ("llama3", ('"parameters"', "ipython"), ()),
)


def tool_format_of(template: str, asked: str | None = None) -> str:
    """One of FORMATS; "" when the template knows no tools, or writes calls in a way that nobody here reads.

    Raises:
        Misconfigured: `asked` is no format, or the template renders no tools, so that the model never learns of them.
    """
    if asked is None and not _valid(template):
        return ""  # whoever sends messages is told
    knows = "tools" in variables(template)
    if asked is None:
        found = (name for name, there, absent in _SIGNS if _has(template, there) and not _has_any(template, absent))
        return next(found, "") if knows else ""
    if asked == NONE:
        return ""
    if asked not in FORMATS:
        raise Misconfigured(f"there is no tool format {asked!r}: choose {', '.join(FORMATS)} or {NONE}")
    if not knows and asked != "json":
        raise Misconfigured(
            f"--tool-format {asked}, but the chat template renders no tools: give one that does with --chat-template, "
            "or choose json, which tells them in a system message"
        )
    return asked


def reasoning_of(template: str, asked: str | None = None) -> str:
    """The tag around thoughts, "" when there are none."""
    if asked is not None:
        return "" if asked == NONE else asked.strip("<>/")
    return _THOUGHTS if f"</{_THOUGHTS}>" in template else ""


def _valid(template: str) -> bool:
    try:
        variables(template)
    except Misconfigured:
        return False
    return True


def _has(template: str, signs: tuple[str, ...]) -> bool:
    return all(sign in template for sign in signs)


def _has_any(template: str, signs: tuple[str, ...]) -> bool:
    return any(sign in template for sign in signs)
