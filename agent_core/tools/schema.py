"""The JSON schema of a tool's arguments, and their validation, from signature, type hints and docstring.

Never calls the tool.
"""

import functools
import hashlib
import inspect
import json
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, to_json

from agent_core.errors import ArgumentsError

JsonSchema = dict[str, Any]

INJECTED = frozenset({"agent", "run_context"})
"""Parameters that the agent fills in; the model never sees them."""

_DOCUMENTED_TYPES: dict[str, object] = {
    "str": str, "string": str, "int": int, "integer": int, "float": float, "number": float, "bool": bool,
    "boolean": bool, "list": list, "dict": dict,
}  # fmt: skip


class _QuietSchema(GenerateJsonSchema):
    # A default that JSON cannot hold stays out of the schema; that is no news to anybody.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012


@dataclass(frozen=True)
class Documentation:
    """What a docstring says: of the whole, and of each parameter (text, type name)."""

    description: str
    parameters: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class ArgumentsSchema:
    """The arguments of one tool: what the model is shown, and the check of what it sends."""

    tool_name: str
    parameters: JsonSchema
    fields: Mapping[str, str]
    positional_only: tuple[str, ...]
    model: type[BaseModel]
    nullable: frozenset[str] = frozenset()

    def validate(self, arguments: Mapping[str, JsonValue]) -> dict[str, object]:
        """Return the arguments as Python values, only those given; `ArgumentsError` if they do not fit."""
        given = {name: value for name, value in arguments.items() if value is not None or name not in self.nullable}
        try:
            # By way of JSON, so that dates, bytes and enums are read as the model writes them.
            checked = self.model.model_validate_json(to_json(given))
        except ValidationError as error:
            raise ArgumentsError(_fault(self.tool_name, error)) from error
        except PydanticSerializationError as error:
            raise ArgumentsError(f"The arguments of {self.tool_name!r} are not JSON: {error}") from error
        values = {name: getattr(checked, field) for name, field in self.fields.items() if name in given}
        return values | (checked.__pydantic_extra__ or {})


def arguments_schema(
    entrypoint: Callable[..., object], *, tool_name: str, strict: bool = False, hidden: Collection[str] = ()
) -> ArgumentsSchema:
    """Return the schema of `entrypoint` without its `hidden` parameters; `ValueError` if a type has no JSON schema."""
    signature, hints = _signature(entrypoint, tool_name)
    documented = read_docstring(entrypoint).parameters
    named = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    shown = [p for p in named if p.name not in INJECTED and p.name not in hidden]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    fields = {p.name: f"field_{index}" for index, p in enumerate(shown)}
    definitions = {fields[p.name]: _field(p, hints, documented.get(p.name, ("", ""))) for p in shown}
    config = ConfigDict(extra="allow" if open_ended else "forbid", arbitrary_types_allowed=False)
    try:
        model: type[BaseModel] = create_model("Arguments", __config__=config, **definitions)
        parameters = without_titles(model.model_json_schema(schema_generator=_QuietSchema))
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"Tool {tool_name!r} has a parameter whose type has no JSON schema: {reason}") from error
    parameters.setdefault("properties", {})
    positional = tuple(p.name for p in shown if p.kind is p.POSITIONAL_ONLY)
    if not strict:
        return ArgumentsSchema(tool_name, parameters, fields, positional, model)
    optional = set(parameters["properties"]) - set(parameters.get("required", ()))
    nullable = frozenset(n for n in optional if not _allows_null(parameters["properties"][n]))
    return ArgumentsSchema(tool_name, strict_schema(parameters), fields, positional, model, nullable)


def read_docstring(entrypoint: Callable[..., object]) -> Documentation:
    """Return what the docstring says (Google, NumPy or reST style); all empty if there is none."""
    text = inspect.getdoc(entrypoint)
    if not text:
        return Documentation("", {})
    from docstring_parser import parse  # noqa: PLC0415 - costs more than the rest of this module, needed per tool only

    parsed = parse(text)
    description = "\n\n".join(part for part in (parsed.short_description, parsed.long_description) if part)
    parameters = {p.arg_name: (p.description or "", p.type_name or "") for p in parsed.params}
    return Documentation(description, parameters)


def strict_schema(schema: JsonSchema) -> JsonSchema:
    """Return `schema` in the strict dialect: every property required (optional ones may be null), extras refused."""
    result = {key: value for key, value in schema.items() if key != "default"}
    if isinstance(result.get("properties"), dict):
        required = set(result.get("required", ()))
        properties: JsonSchema = {
            name: strict_schema(part if name in required or _allows_null(part) else _or_null(part))
            for name, part in result["properties"].items()
        }
        result |= {"properties": properties, "required": list(properties), "additionalProperties": False}
    for key in ("anyOf", "allOf", "prefixItems"):
        if key in result:
            result[key] = [strict_schema(part) for part in result[key]]
    if "oneOf" in result:  # the strict dialect has no oneOf; anyOf accepts the same values
        result["anyOf"] = [strict_schema(part) for part in result.pop("oneOf")]
        result.pop("discriminator", None)
    if isinstance(result.get("items"), dict):
        result["items"] = strict_schema(result["items"])
    if "$defs" in result:
        result["$defs"] = {name: strict_schema(part) for name, part in result["$defs"].items()}
    return result


def without_titles(schema: JsonSchema) -> JsonSchema:
    """Return `schema` without the titles that pydantic derives from names: they only cost tokens."""
    return _without("title", schema)


def schema_digest(schema: JsonSchema) -> str:
    """Return a short name for what `schema` accepts. Descriptions and the order of the parameters do not count."""
    bare = _without("description", schema) | {"required": sorted(schema.get("required", ()))}
    return hashlib.sha256(json.dumps(bare, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _without(word: str, schema: JsonSchema) -> JsonSchema:
    result: JsonSchema = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            result[key] = {name: _without(word, part) for name, part in value.items()}
        elif key != word:
            result[key] = _nested(word, value)
    return result


def _nested(word: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_without(word, part) if isinstance(part, dict) else part for part in value]
    return _without(word, value) if isinstance(value, dict) else value


def _signature(entrypoint: Callable[..., object], tool_name: str) -> tuple[inspect.Signature, dict[str, Any]]:
    try:
        signature = inspect.signature(entrypoint)
        hints = typing.get_type_hints(_annotated(entrypoint), include_extras=True)
    except NameError as error:
        raise ValueError(
            f"Tool {tool_name!r} is annotated with a name that its module does not define: {error}. "
            "Define the type at module level, before the tool is used."
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"Tool {tool_name!r} has no signature that can be read: {error}") from error
    return signature, hints


def _annotated(entrypoint: Callable[..., object]) -> Callable[..., object]:
    """Return what carries the annotations: the function inside a partial, the `__call__` of an object."""
    inner = inspect.unwrap(entrypoint)
    if isinstance(inner, functools.partial):
        return _annotated(inner.func)
    return inner if inspect.isroutine(inner) else type(inner).__call__


def _field(parameter: inspect.Parameter, hints: Mapping[str, Any], documented: tuple[str, str]) -> Any:
    description, type_name = documented
    hint = hints.get(parameter.name, _DOCUMENTED_TYPES.get(type_name.strip().lower(), Any))
    required = parameter.default is parameter.empty
    default = ... if required else parameter.default
    described = any(getattr(part, "description", None) for part in getattr(hint, "__metadata__", ()))
    text = None if described else description or None
    extra: dict[str, Any] = {} if text is None else {"description": text}
    return (Annotated[hint, Field(alias=parameter.name, **extra)], default)


def _allows_null(schema: JsonSchema) -> bool:
    return schema.get("type") == "null" or any(_allows_null(part) for part in schema.get("anyOf", ()))


def _or_null(schema: JsonSchema) -> JsonSchema:
    described = {"description": schema["description"]} if "description" in schema else {}
    inner = {key: value for key, value in schema.items() if key not in ("description", "default")}
    return {"anyOf": [inner, {"type": "null"}], **described}


def _fault(tool_name: str, error: ValidationError) -> str:
    faults = []
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in entry["loc"]) or "arguments"
        reason = "No such argument" if entry["type"] == "extra_forbidden" else entry["msg"]
        faults.append(f"{place}: {reason}")
    return f"The arguments of {tool_name!r} do not fit. {'; '.join(faults)}."
