"""What an answer must look like: OpenAI's `response_format` and vLLM's extras, all to one grammar."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from queuechat.errors import InvalidRequest, UnsupportedParameter
from queuechat.protocol import Grammar

MAX_WORDS = 1000

Schema = dict[str, Any]
Text = Annotated[str, Field(min_length=1)]
Words = Annotated[list[Text], Field(min_length=1, max_length=MAX_WORDS, fail_fast=True)]


class _Plain(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=())


class JsonSchema(_Plain):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    schema_: Schema | None = Field(None, alias="schema", description="any object, when left out")
    description: str | None = None
    strict: bool | None = Field(None, description="an answer always follows the schema")


class ResponseFormat(_Plain):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("have a `json_schema` of the form {name, schema}")
        return self

    @property
    def grammar(self) -> Grammar | None:
        if self.type == "text":
            return None
        schema = self.json_schema.schema_ if self.json_schema else None
        return Grammar("json_object") if schema is None else _schema(schema)


class StructuredOutputs(_Plain):
    """One of these forms; another one would change the answer, so that it is refused."""

    model_config = ConfigDict(strict=True, extra="allow", protected_namespaces=())

    json_: str | Schema | None = Field(None, alias="json")
    regex: Text | None = None
    choice: Words | None = None
    grammar: Text | None = Field(None, description="Lark")
    json_object: bool | None = None

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if odd := [name for name, value in (self.model_extra or {}).items() if value not in (None, False)]:
            where = f"structured_outputs.{odd[0][:80]}"
            raise UnsupportedParameter(f"`{where}` is not supported; leave it out", param=where)
        return self

    @property
    def grammars(self) -> dict[str, Grammar | None]:
        return {
            "structured_outputs.json": _schema(self.json_),
            "structured_outputs.regex": _told("regex", self.regex),
            "structured_outputs.choice": _choice(self.choice),
            "structured_outputs.grammar": _told("lark", self.grammar),
            "structured_outputs.json_object": Grammar("json_object") if self.json_object else None,
        }


class Constraints(_Plain):
    """The part of a request that says what its answer must look like; at most one of them."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: str | Schema | None = None
    guided_regex: str | None = None
    guided_choice: Annotated[list[str], Field(max_length=MAX_WORDS, fail_fast=True)] | None = None
    guided_grammar: str | None = Field(None, description="Lark")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self._grammars) > 1:
            first, second = list(self._grammars)[:2]
            raise InvalidRequest(f"`{second}` must be left out where there is `{first}`", param=second)
        return self

    @property
    def grammar(self) -> Grammar | None:
        return next(iter(self._grammars.values()), None)

    @property
    def constraint(self) -> str:
        """The name of the field that sets the grammar."""
        return next(iter(self._grammars), "")

    @property
    def _grammars(self) -> dict[str, Grammar]:
        """Each that is asked for, by the name of its field."""
        found = {
            "response_format": self.response_format.grammar if self.response_format else None,
            **(self.structured_outputs.grammars if self.structured_outputs else {}),
            "guided_json": _schema(self.guided_json or None),
            "guided_regex": _told("regex", self.guided_regex),
            "guided_choice": _choice(self.guided_choice),
            "guided_grammar": _told("lark", self.guided_grammar),
        }
        return {name: grammar for name, grammar in found.items() if grammar}


def _schema(schema: str | Schema | None) -> Grammar | None:
    if schema is None:
        return None
    return Grammar("json_schema", schema if isinstance(schema, str) else orjson.dumps(schema).decode())


def _told(kind: Literal["regex", "lark"], text: str | None) -> Grammar | None:
    return Grammar(kind, text) if text else None


def _choice(words: list[str] | None) -> Grammar | None:
    return Grammar("choice", orjson.dumps(words).decode()) if words else None
