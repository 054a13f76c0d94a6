"""Arguments that people give to a call, checked as far as its record tells: what can be told at once, is.

Never a promise that the tool takes them: its own rules are looked at where it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import from_json

from agent_core.errors import InvalidAnswerError
from agent_core.tools.execution import MAX_ARGUMENTS_BYTES, ToolExecution, UserInputField

# As lenient as tools are: "2" will do for an integer, and 2 for no text.
_KINDS: dict[str, TypeAdapter[Any]] = {
    "string": TypeAdapter(str),
    "integer": TypeAdapter(int),
    "number": TypeAdapter(float),
    "boolean": TypeAdapter(bool),
    "array": TypeAdapter(list[Any]),
    "object": TypeAdapter(dict[str, Any]),
}


def checked_values(values: Mapping[str, JsonValue], *, what: str) -> dict[str, JsonValue]:
    """The values as they are stored; InvalidAnswerError, which begins with `what`, for none that JSON can hold."""
    try:
        text = json.dumps(dict(values), allow_nan=False, ensure_ascii=False).encode()
        checked = cast(dict[str, JsonValue], from_json(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidAnswerError(f"{what} must be an object that JSON can hold: {error}") from error
    if len(text) > MAX_ARGUMENTS_BYTES:
        raise InvalidAnswerError(f"{what} have {len(text)} bytes; {MAX_ARGUMENTS_BYTES} are allowed")
    return checked


def checked_input(call: ToolExecution, values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """What a person gives of the fields that the call asks for; InvalidAnswerError names the field that is wrong."""
    checked = checked_values(values, what=f"the input of {call.tool_name}")
    fields = {field.name: field for field in call.user_input_schema or []}
    if unknown := checked.keys() - fields.keys():
        raise InvalidAnswerError(
            f"{call.tool_name} asks for {', '.join(sorted(fields))}; not for {', '.join(sorted(unknown))}"
        )
    required = {name for name, field in fields.items() if field.required and field.value is None}
    if missing := required - checked.keys():
        raise InvalidAnswerError(f"{call.tool_name} also needs {', '.join(sorted(missing))}")
    for name, value in checked.items():
        _check_kind(call, fields[name], value)
    return checked


def _check_kind(call: ToolExecution, field: UserInputField, value: JsonValue) -> None:
    kind = _KINDS.get(field.field_type)
    if kind is None or (value is None and not field.required):
        return
    try:
        kind.validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InvalidAnswerError(f"{field.name} of {call.tool_name} is no {field.field_type}: {reason}") from None
