"""How tokens are drawn, and what an answer must look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn. Temperature 0 is greedy; top_k 0 and the neutral values switch a filter off.

    `seed` is always set (the front end draws one if the user did not), so that any worker can go on with the same
    noise; `choice` keeps the n answers of one request apart.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    seed: int = 0
    choice: int = 0


GrammarKind = Literal["json_schema", "json_object", "regex", "choice", "lark"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must look like. `text` is, by kind: a JSON Schema; nothing; a regular expression for the whole
    answer; a JSON list of strings, of which the answer is one; a Lark grammar.
    """

    kind: GrammarKind
    text: str = ""
