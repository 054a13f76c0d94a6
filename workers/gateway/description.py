"""The description of the API (OpenAPI), completed: every refusal that a route can give, in the form it really has."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from workers.gateway.problems import PROBLEM_JSON, Problem

_METHODS = ("get", "post", "put", "patch", "delete")
_OF_ANY = {"400": "The request cannot be read.", "500": "A fault of the gateway's.", "503": "Try again later."}
_OF_KEYS = {
    "401": "No API key, or none that is known.",
    "403": "The key lacks the role, or the page is another site's.",
}
_OF_BODIES = {"413": "The body is too large.", "415": "The body is not JSON."}
_OF_INPUTS = {"422": "A field is missing, unknown or not what it must be."}
_OTHERS = {"404": "There is no such thing.", "409": "It does not fit what is so already."}
_WORDS = {**_OF_ANY, **_OF_KEYS, **_OF_BODIES, **_OF_INPUTS, **_OTHERS}
_HEADERS = {
    "401": {"WWW-Authenticate": {"schema": {"type": "string"}}},
    "503": {"Retry-After": {"schema": {"type": "string"}}},
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The description of the app's routes, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        # What the framework would answer to a wrong field, and what its own fields would look like.
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
        schemas.update(problem.pop("$defs", {}), Problem=problem)
        for path in schema["paths"].values():
            for method in _METHODS:
                if method in path:
                    _complete(path[method])
        app.openapi_schema = schema
    return app.openapi_schema


def _complete(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        _without_null(parameter["schema"])
    responses = operation["responses"]
    expected = dict(_OF_ANY)
    if "security" in operation:
        expected |= _OF_KEYS
    if "requestBody" in operation:
        expected |= _OF_BODIES
    if "requestBody" in operation or "parameters" in operation:
        expected |= _OF_INPUTS
    for status in {*expected, *(status for status in responses if status >= "400")}:
        responses[status] = {
            "description": _WORDS[status],
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
        }
    operation["responses"] = dict(sorted(responses.items()))


def _without_null(schema: dict[str, Any]) -> None:
    """A parameter may be left out, but there is no way to write null into a header or a query."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        del schema["anyOf"]
        schema.update(choices[0])
