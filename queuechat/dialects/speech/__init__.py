"""What a model says, read from the text that it writes: content, reasoning, calls of tools.

One layer for every API that we speak, streamed or whole: a `Reader` takes text as it comes and gives parts.
"""

from queuechat.dialects.speech.manner import FORMATS, Form, Manner, markers
from queuechat.dialects.speech.parts import ContentDelta, Part, ReasoningDelta, RefusalDelta, ToolArguments, ToolStart
from queuechat.dialects.speech.reader import Reader
from queuechat.dialects.speech.relayed import RELAYED

__all__ = [
    "FORMATS",
    "RELAYED",
    "ContentDelta",
    "Form",
    "Manner",
    "Part",
    "Reader",
    "ReasoningDelta",
    "RefusalDelta",
    "ToolArguments",
    "ToolStart",
    "markers",
]
