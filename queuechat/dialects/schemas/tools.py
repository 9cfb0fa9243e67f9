"""The tools of a chat, and whether one must be called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from queuechat.errors import InvalidRequest

MAX_TOOLS = 128

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]


class _Plain(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class Function(_Plain):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = Field(None, description="JSON Schema of the arguments")
    strict: bool | None = Field(
        None, description="true holds with tool_choice required or a named function; else the model is free to err"
    )

    def told(self) -> dict[str, Any]:
        """For the chat template."""
        told: dict[str, Any] = {"name": self.name, "description": self.description or ""}
        return told | {"parameters": self.parameters or {"type": "object", "properties": {}}}


class Tool(_Plain):
    type: Literal["function"]
    function: Function


class Named(_Plain):
    name: Name


class NamedTool(_Plain):
    type: Literal["function"]
    function: Named


class Allowed(_Plain):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)]


class AllowedTools(_Plain):
    type: Literal["allowed_tools"]
    allowed_tools: Allowed


Choice = Literal["none", "auto", "required"] | NamedTool | AllowedTools


class Toolbox(_Plain):
    """The part of a chat request that is about tools; `functions` and `function_call` are OpenAI's older form."""

    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    tool_choice: Choice | None = Field(None, description="auto unless told otherwise")
    parallel_tool_calls: bool | None = Field(None, description="false: at most one call an answer")
    functions: Annotated[list[Function], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    function_call: Literal["none", "auto"] | Named | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.tools and self.functions:
            raise InvalidRequest("`functions` must be left out where there are `tools`", param="functions")
        param = "functions" if self.functions else "tools"
        names = [function.name for function in self._functions]
        if len(set(names)) < len(names):
            raise InvalidRequest(f"`{param}` must have names that differ", param=param)
        param = "function_call" if self.functions or self.function_call else "tool_choice"
        if not names and self._mode == "required":
            raise InvalidRequest(f"`{param}` must be left out, or tools be sent for it to choose from", param=param)
        if odd := [name for name in self._wanted or [] if name not in names]:
            raise InvalidRequest(f"`{param}` must name tools that are sent; {odd[0]!r} is not", param=param)
        return self

    @property
    def legacy(self) -> bool:
        """Whether calls are answered in the older form."""
        return bool(self.functions)

    @property
    def forced(self) -> bool:
        """Whether the answer must be a call."""
        return self._mode == "required"

    @property
    def most(self) -> int:
        """Calls that an answer may have; 0 is any number."""
        one = self.legacy or self.parallel_tool_calls is False or isinstance(self.tool_choice, NamedTool)
        return 1 if one else 0

    @property
    def offered(self) -> list[Function]:
        """Those that may be called."""
        if self._mode == "none":
            return []
        wanted = self._wanted
        return [f for f in self._functions if wanted is None or f.name in wanted]

    @property
    def _functions(self) -> list[Function]:
        return [tool.function for tool in self.tools or []] or self.functions or []

    @property
    def _mode(self) -> str:
        choice = self.tool_choice or self.function_call or "auto"
        if isinstance(choice, AllowedTools):
            return choice.allowed_tools.mode
        return choice if isinstance(choice, str) else "required"

    @property
    def _wanted(self) -> list[str] | None:
        """Names that narrow the choice; None when nothing does."""
        choice = self.tool_choice or self.function_call
        if isinstance(choice, AllowedTools):
            return [tool.function.name for tool in choice.allowed_tools.tools]
        if isinstance(choice, NamedTool):
            return [choice.function.name]
        return [choice.name] if isinstance(choice, Named) else None


def calls_schema(functions: Sequence[Function], most: int) -> dict[str, Any]:
    """JSON Schema of a list of at least one and at most `most` (0: any number of) calls."""
    definitions: dict[str, Any] = {}
    kinds = []
    for k, function in enumerate(functions):
        place = f"tool_{k}"
        definitions[place] = _moved(function.parameters or {"type": "object"}, f"#/$defs/{place}")
        kinds.append(
            {
                "type": "object",
                "properties": {"name": {"const": function.name}, "arguments": {"$ref": f"#/$defs/{place}"}},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    items = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    listed: dict[str, Any] = {"type": "array", "items": items, "minItems": 1}
    return listed | ({"maxItems": most} if most else {}) | {"$defs": definitions}


def either(schema: Mapping[str, Any], calls: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema of an answer of that schema, or a list of calls."""
    definitions = {**calls["$defs"], "answer": _moved(schema, "#/$defs/answer")}
    bare = {name: value for name, value in calls.items() if name != "$defs"}
    return {"anyOf": [{"$ref": "#/$defs/answer"}, bare], "$defs": definitions}


def _moved(schema: Any, place: str) -> Any:
    """The schema with its references as they are when it stands at `place` of another."""
    if isinstance(schema, list):
        return [_moved(item, place) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    moved = {key: _moved(value, place) for key, value in schema.items()}
    pointer = schema.get("$ref")
    if isinstance(pointer, str) and pointer.startswith("#"):
        moved["$ref"] = place + pointer[1:]
    return moved
